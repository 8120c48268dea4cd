#pragma once
// Row operations of attention: maxima and powers of two. Included by attention_*.cpp only.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/gemm_simd.h"

namespace weft::kernels {
namespace {

template <class T>
T row_max(const T* s, int64_t n) {
  constexpr int L = 16;
  T lanes[L];
  for (T& x : lanes) x = -std::numeric_limits<T>::infinity();
  int64_t j = 0;
  for (; j + L <= n; j += L) {
    for (int i = 0; i < L; ++i) lanes[i] = s[j + i] < lanes[i] ? lanes[i] : s[j + i];  // NaN is kept
  }
  for (; j < n; ++j) lanes[j % L] = s[j] < lanes[j % L] ? lanes[j % L] : s[j];
  T best = lanes[0];
  for (int i = 1; i < L; ++i) best = lanes[i] < best ? best : lanes[i];
  return best;
}

#if defined(__AVX512F__)
/// 2^x for x <= 128, within 2 ulp; 0 below -150. NaN stays.
inline __m512 exp2_lanes(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, whole);
  __m512 p = _mm512_set1_ps(0x1.44138ap-13f);
  for (const float c : {0x1.5f0890p-10f, 0x1.3b2a54p-7f, 0x1.c6af6cp-5f, 0x1.ebfbe0p-3f, 0x1.62e430p-1f, 1.0f}) {
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
  }
  return _mm512_scalef_ps(p, whole);
}
#endif

#if !defined(__AVX512F__) && defined(__FMA__)
/// exp2_lanes() for the vectors that the compiler makes of a loop.
inline float exp2_element(float x) {
  x = x < -200.0f ? -200.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the nearest integer
  const float shifted = x + kRound;
  const int32_t whole = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float f = x - (shifted - kRound);
  float p = 0x1.44138ap-13f;
  for (const float c : {0x1.5f0890p-10f, 0x1.3b2a54p-7f, 0x1.c6af6cp-5f, 0x1.ebfbe0p-3f, 0x1.62e430p-1f, 1.0f}) {
    p = __builtin_fmaf(p, f, c);
  }
  // In two steps, for powers below those of floats.
  const int32_t half = whole >> 1;
  return p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((whole - half + 127) << 23);
}
#endif

/// s[j] = 2^(s[j] - m), j < n; returns their sum.
template <class T>
T exp2_row(T* s, int64_t n, T m) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    const __m512 shift = _mm512_set1_ps(m);
    __m512 total = _mm512_setzero_ps(), other = total;
    int64_t j = 0;
    for (; j + 32 <= n; j += 32) {
      const __m512 a = exp2_lanes(_mm512_sub_ps(_mm512_loadu_ps(s + j), shift));
      const __m512 b = exp2_lanes(_mm512_sub_ps(_mm512_loadu_ps(s + j + 16), shift));
      _mm512_storeu_ps(s + j, a);
      _mm512_storeu_ps(s + j + 16, b);
      total = _mm512_add_ps(total, a);
      other = _mm512_add_ps(other, b);
    }
    for (; j < n; j += 16) {
      const auto mask = Simd<float>::tail(n - j);
      const __m512 a = _mm512_maskz_mov_ps(mask, exp2_lanes(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, s + j), shift)));
      _mm512_mask_storeu_ps(s + j, mask, a);
      total = _mm512_add_ps(total, a);
    }
    return lane_sum<float>(_mm512_add_ps(total, other));
  }
#elif defined(__FMA__)
  if constexpr (std::is_same_v<T, float>) {
    for (int64_t j = 0; j < n; ++j) s[j] = exp2_element(s[j] - m);
    using V = Simd<float>;
    auto total = V::zero();
    for (int64_t j = 0; j < n; j += V::kLanes) total = V::add(total, V::load(s + j, V::tail(n - j)));
    return lane_sum<float>(total);
  }
#endif
  constexpr int L = 16;
  T lanes[L] = {};
  for (int64_t j = 0; j < n; ++j) {
    s[j] = std::exp2(s[j] - m);
    lanes[j % L] += s[j];
  }
  for (int half = L / 2; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

/// sum x[i] y[i] in 16 lanes.
template <class T>
T row_dot(const T* x, const T* y, int64_t n) {
  using V = Simd<T>;
  auto sum = V::zero();
  for (int64_t i = 0; i < n; i += V::kLanes) {
    const auto mask = V::tail(n - i);
    sum = V::fma(V::load(x + i, mask), V::load(y + i, mask), sum);
  }
  return lane_sum<T>(sum);
}

}  // namespace
}  // namespace weft::kernels
