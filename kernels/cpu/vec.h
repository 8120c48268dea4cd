#pragma once
// Fixed-width vectors for the hand-blocked kernels (convolution, normalisation): one register of the build's CPU.
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__AVX512F__) || defined(__AVX2__) || defined(__FMA__)
#include <immintrin.h>
#endif

namespace weft::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kRegisters = 32;
#else
inline constexpr int kVectorBytes = 32;
inline constexpr int kRegisters = 16;
#endif

template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
struct VecOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VecOf<T>::type;

template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, Vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};  // not x + 0, which would turn -0 into 0
}

/// The first n lanes (n <= kLanes<T>; the others 0) of memory that may end after them.
template <class T>
inline Vec<T> load_first(const T* p, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1), p);
  if constexpr (sizeof(T) == 8) return (Vec<T>)_mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << n) - 1), p);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (Vec<T>)_mm256_maskload_epi32(reinterpret_cast<const int*>(p),
                                         _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes));
  }
  if constexpr (sizeof(T) == 8)
    return (Vec<T>)_mm256_maskload_epi64(reinterpret_cast<const long long*>(p),
                                         _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)));
#endif
  Vec<T> v{};
  std::memcpy(&v, p, static_cast<size_t>(n) * sizeof(T));
  return v;
}
/// Writes the first n lanes only.
template <class T>
inline void store_first(T* p, Vec<T> v, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << n) - 1), (__m512i)v);
  if constexpr (sizeof(T) == 8) return _mm512_mask_storeu_epi64(p, static_cast<__mmask8>((1u << n) - 1), (__m512i)v);
#elif defined(__AVX2__)
  // By halves: masked stores are slow on some processors, and a call of memcpy() everywhere.
  if constexpr (sizeof(T) >= 4) {
    if (n == kLanes<T>) return store(p, v);
    __m128i part = _mm256_castsi256_si128((__m256i)v);
    if (n & (kLanes<T> / 2)) {
      std::memcpy(p, &part, 16);
      p += kLanes<T> / 2;
      part = _mm256_extracti128_si256((__m256i)v, 1);
    }
    if (n & (kLanes<T> / 4)) {
      const int64_t two = _mm_cvtsi128_si64(part);
      std::memcpy(p, &two, 8);
      p += kLanes<T> / 4;
      part = _mm_unpackhi_epi64(part, part);
    }
    if constexpr (sizeof(T) == 4)
      if (n & 1) {
        const int one = _mm_cvtsi128_si32(part);
        std::memcpy(p, &one, 4);
      }
    return;
  }
#endif
  std::memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
}

/// memcpy() for lines of some hundred bytes, for which the C library's choice (string instructions) is slower.
inline void copy_line(void* to, const void* from, int64_t bytes) {
  if (bytes < kVectorBytes || bytes > 8192) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    return;
  }
  char* d = static_cast<char*>(to);
  const char* s = static_cast<const char*>(from);
  for (int64_t i = 0; i + kVectorBytes <= bytes; i += kVectorBytes) store(d + i, load(s + i));
  store(d + bytes - kVectorBytes, load(s + bytes - kVectorBytes));
}

/// a * b + c, rounded once (integers wrap). Without FMA hardware it is rounded twice.
template <class T>
inline Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
  if constexpr (std::is_same_v<T, double>) return (Vec<T>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
  if constexpr (std::is_same_v<T, double>) return (Vec<T>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#endif
  return a * b + c;
}

/// The larger of each lane; b where the two compare unordered or equal.
template <class T>
inline Vec<T> larger(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)  // Under a full mask: GCC 12 warns of the undefined lanes in _mm512_max_ps.
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm512_maskz_max_ps(0xFFFF, (__m512)a, (__m512)b);
  if constexpr (std::is_same_v<T, double>) return (Vec<T>)_mm512_maskz_max_pd(0xFF, (__m512d)a, (__m512d)b);
#elif defined(__FMA__)
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm256_max_ps((__m256)a, (__m256)b);
  if constexpr (std::is_same_v<T, double>) return (Vec<T>)_mm256_max_pd((__m256d)a, (__m256d)b);
#endif
  return a > b ? a : b;
}

/// Asks for memory that will be read soon.
inline void prefetch(const void* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) {
    const char* line = static_cast<const char*>(p) + i;
#if defined(__x86_64__)
    asm volatile("prefetcht0 %0" ::"m"(*line));  // GCC drops calls of functions that do nothing but __builtin_prefetch
#else
    __builtin_prefetch(line);
#endif
  }
}

namespace detail {
template <class T, int kStep, bool kOdd, size_t... I>
inline Vec<T> interleave(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
  constexpr int n = kLanes<T>;
  // Lane i: of a where block i / kStep is even, else of b; odd takes the odd blocks of both.
  return __builtin_shufflevector(a, b,
                                 ((I & kStep) ? (n + int(I) - (kOdd ? 0 : kStep)) : (int(I) + (kOdd ? kStep : 0)))...);
}
template <class T, size_t... I>
inline Vec<T> even(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, int(2 * I)...);
}
template <class T, int kStep>
inline void transpose_step(Vec<T>* r) {
  constexpr int n = kLanes<T>;
  using Index = std::make_index_sequence<n>;
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) {
    if (i & kStep) continue;
    const Vec<T> a = r[i], b = r[i + kStep];
    r[i] = interleave<T, kStep, false>(a, b, Index{});
    r[i + kStep] = interleave<T, kStep, true>(a, b, Index{});
  }
  if constexpr (kStep > 1) transpose_step<T, kStep / 2>(r);
}
}  // namespace detail

/// a0 a2 a4 ... b0 b2 b4 ...
template <class V>
inline V even(V a, V b) {
  using T = std::remove_reference_t<decltype(a[0])>;
  return detail::even<T>(a, b, std::make_index_sequence<kLanes<T>>{});
}

/// Transposes a square of kLanes<T> registers in place.
template <class T>
inline void transpose(Vec<T>* r) {
  detail::transpose_step<T, kLanes<T> / 2>(r);
}

/// store() past the caches; p is aligned to a vector.
template <class T>
inline void stream_vector(T* p, Vec<T> v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#elif defined(__FMA__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#else
  store(p, v);
#endif
}

/// out[j * out_stride + i] = in[i * in_stride + j] for i < rows, j < cols. Neither range may overlap the other.
/// kStream: whole vectors of out are aligned, and written past the caches.
template <class T, bool kStream = false>
inline void transpose(const T* in, int64_t in_stride, T* out, int64_t out_stride, int64_t rows, int64_t cols) {
  constexpr int n = kLanes<T>;
  for (int64_t i0 = 0; i0 < rows; i0 += n) {
    const int64_t ni = rows - i0 < n ? rows - i0 : n;
    for (int64_t j0 = 0; j0 < cols; j0 += n) {
      const int64_t nj = cols - j0 < n ? cols - j0 : n;
      const T* p = in + i0 * in_stride + j0;
      T* q = out + j0 * out_stride + i0;
      if (ni == n && nj == n) {
        Vec<T> r[n];
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) r[i] = load(p + i * in_stride);
        transpose<T>(r);
#pragma GCC unroll 16
        for (int j = 0; j < n; ++j)
          if constexpr (kStream)
            stream_vector(q + j * out_stride, r[j]);
          else
            store(q + j * out_stride, r[j]);
        continue;
      }
      Vec<T> r[n];
#pragma GCC unroll 16
      for (int i = 0; i < n; ++i) r[i] = i < ni ? load_first(p + i * in_stride, nj) : Vec<T>{};
      transpose<T>(r);
#pragma GCC unroll 16
      for (int j = 0; j < n; ++j)
        if (j < nj) store_first(q + j * out_stride, r[j], ni);
    }
  }
}

}  // namespace weft::cpu
