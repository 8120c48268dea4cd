#pragma once
// Vectors for the matrix kernels: AVX-512, AVX2 + FMA, or 16-byte vectors of the compiler. Included by kernels/cpu
// only.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/half.h"

#if defined(__AVX512F__) || defined(__AVX2__)
// g++ 12 warns of its own _mm512_undefined_epi32 and _mm256_undefined_pd (GCC bug 105593).
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace weft::kernels {
namespace {

/// Vec, lanes, tail masks (first n lanes), and the register tile kMr x kNv vectors that fits the register file:
/// 28 + 3 of 32 registers with AVX-512, 12 + 3 of 16 otherwise.
template <class T>
struct Simd;

#if defined(__AVX512F__)

template <>
struct Simd<float> {
  using Vec = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16, kMr = 14, kNv = 2;
  static Mask tail(int64_t n) { return n >= kLanes ? Mask(0xffff) : Mask((1u << n) - 1); }
  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec set1(float x) { return _mm512_set1_ps(x); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, Vec v, Mask m) { _mm512_mask_storeu_ps(p, m, v); }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
};

template <>
struct Simd<double> {
  using Vec = __m512d;
  using Mask = __mmask8;
  static constexpr int kLanes = 8, kMr = 14, kNv = 2;
  static Mask tail(int64_t n) { return n >= kLanes ? Mask(0xff) : Mask((1u << n) - 1); }
  static Vec zero() { return _mm512_setzero_pd(); }
  static Vec set1(double x) { return _mm512_set1_pd(x); }
  static Vec load(const double* p) { return _mm512_loadu_pd(p); }
  static Vec load(const double* p, Mask m) { return _mm512_maskz_loadu_pd(m, p); }
  static void store(double* p, Vec v) { _mm512_storeu_pd(p, v); }
  static void store(double* p, Vec v, Mask m) { _mm512_mask_storeu_pd(p, m, v); }
  static Vec add(Vec a, Vec b) { return _mm512_add_pd(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_pd(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }
};

#elif defined(__AVX2__) && defined(__FMA__)

inline bool whole(__m256i mask) { return _mm256_testc_si256(mask, _mm256_set1_epi32(-1)); }

template <>
struct Simd<float> {
  using Vec = __m256;
  using Mask = __m256i;
  static constexpr int kLanes = 8, kMr = 6, kNv = 2;
  static Mask tail(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n >= kLanes ? kLanes : static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec set1(float x) { return _mm256_set1_ps(x); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load(const float* p, Mask m) { return _mm256_maskload_ps(p, m); }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  // A masked store of this kind takes some processors dozens of cycles, whatever the mask.
  static void store(float* p, Vec v, Mask m) { whole(m) ? store(p, v) : _mm256_maskstore_ps(p, m, v); }
  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
};

template <>
struct Simd<double> {
  using Vec = __m256d;
  using Mask = __m256i;
  static constexpr int kLanes = 4, kMr = 6, kNv = 2;
  static Mask tail(int64_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n >= kLanes ? kLanes : n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static Vec zero() { return _mm256_setzero_pd(); }
  static Vec set1(double x) { return _mm256_set1_pd(x); }
  static Vec load(const double* p) { return _mm256_loadu_pd(p); }
  static Vec load(const double* p, Mask m) { return _mm256_maskload_pd(p, m); }
  static void store(double* p, Vec v) { _mm256_storeu_pd(p, v); }
  static void store(double* p, Vec v, Mask m) { whole(m) ? store(p, v) : _mm256_maskstore_pd(p, m, v); }
  static Vec add(Vec a, Vec b) { return _mm256_add_pd(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_pd(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_pd(a, b, c); }
};

#else

template <class T>
struct Simd {
  typedef T Vec __attribute__((vector_size(16)));
  using Mask = int;  // number of lanes
  static constexpr int kLanes = 16 / sizeof(T), kMr = 4, kNv = 2;
  static Mask tail(int64_t n) { return n >= kLanes ? kLanes : static_cast<int>(n); }
  static Vec zero() { return Vec{}; }
  static Vec set1(T x) { return Vec{} + x; }
  static Vec load(const T* p) { return load(p, kLanes); }
  static Vec load(const T* p, Mask m) {
    Vec v{};
    std::memcpy(&v, p, m * sizeof(T));
    return v;
  }
  static void store(T* p, Vec v) { std::memcpy(p, &v, sizeof(v)); }
  static void store(T* p, Vec v, Mask m) { std::memcpy(p, &v, m * sizeof(T)); }
  static Vec add(Vec a, Vec b) { return a + b; }
  static Vec mul(Vec a, Vec b) { return a * b; }
  static Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
};

#endif

/// The sum of the lanes, by halves.
template <class T>
T lane_sum(typename Simd<T>::Vec v) {
#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
  if constexpr (std::is_same_v<T, float>) {
#if defined(__AVX512F__)
    const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), upper);
#else
    const __m256 eight = v;
#endif
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  } else {
#if defined(__AVX512F__)
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
#else
    const __m256d four = v;
#endif
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
#else
  T lanes[Simd<T>::kLanes];
  Simd<T>::store(lanes, v);
  for (int half = Simd<T>::kLanes / 2; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
#endif
}

inline float bf16_to_float(uint16_t x) { return to_float(BFloat16{x}); }
inline uint16_t float_to_bf16(float x) { return to_bf16(x).bits; }
inline float f16_to_float(uint16_t x) { return to_float(Half{x}); }
inline uint16_t float_to_f16(float x) { return to_f16(x).bits; }

}  // namespace
}  // namespace weft::kernels
