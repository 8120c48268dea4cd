#pragma once
// The register tile of the matrix kernels and the packing of its operands. Included by the gemm_*.cpp files only.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cpu/gemm_simd.h"
#include "kernels/cpu/hold.h"

namespace weft::kernels {
namespace {

/// How products of source elements Source are formed: Elem is what a packed panel holds (kPair source elements along
/// k), Acc the type of the sums.
template <class T>
struct Plain {  // f32 and f64 as they are
  using Source = T;
  using Elem = T;
  using Acc = T;
  using V = Simd<T>;
  using Operand = typename V::Vec;
  static constexpr int kPair = 1;
  static Operand broadcast(const Elem* p) { return V::set1(*p); }
  static Operand load(const Elem* p) { return V::load(p); }
  static typename V::Vec multiply_add(Operand a, Operand b, typename V::Vec c) { return V::fma(a, b, c); }
  static Elem convert(T x) { return x; }
  static T round(T x) { return x; }
};

template <float (*kConvert)(uint16_t), uint16_t (*kRound)(float)>
struct Widened : Plain<float> {  // 16-bit floats, widened when packed
  using Source = uint16_t;
  static Elem convert(uint16_t x) { return kConvert(x); }
  static uint16_t round(float x) { return kRound(x); }
};
using WidenedF16 = Widened<f16_to_float, float_to_f16>;
using WidenedBf16 = Widened<bf16_to_float, float_to_bf16>;

#if defined(__AVX512BF16__)
struct PairedBf16 {  // two neighbours along k in 32 bits, as vdpbf16ps takes them
  using Source = uint16_t;
  using Elem = uint32_t;
  using Acc = float;
  using V = Simd<float>;
  using Operand = __m512i;
  static constexpr int kPair = 2;
  static Operand broadcast(const Elem* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }
  static Operand load(const Elem* p) { return _mm512_loadu_si512(p); }
  static __m512 multiply_add(Operand a, Operand b, __m512 c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
  static float convert(uint16_t x) { return bf16_to_float(x); }
  static uint16_t round(float x) { return float_to_bf16(x); }
};
using Bf16 = PairedBf16;
#else
using Bf16 = WidenedBf16;
#endif

/// Where a tile goes: C = alpha * sum + beta * C + bias, columns given by the mask of the last vector.
template <class Acc>
struct TileEnd {
  Acc* c;
  int64_t ldc;
  Acc alpha, beta;
  const Acc* bias;  // of the tile's first column, or null
};

/// Sums MR rows by NV vectors over k (in Elem steps), each element by one chain of multiply-adds in order of k.
/// A: element (i, p) at a[i * a_rs + p * a_cs]; packed means a_rs = 1, a_cs = MR. B: row p at b + p * b_rs.
/// Strided B may end inside the last vector (mask); packed panels are padded with zeros.
template <class K, int MR, int NV, bool kPacked>
void tile(int64_t k, const typename K::Elem* a, int64_t a_rs, int64_t a_cs, const typename K::Elem* b, int64_t b_rs,
          typename K::V::Mask mask, const TileEnd<typename K::Acc>& end) {
  using V = typename K::V;
  using Vec = typename V::Vec;
  constexpr int L = V::kLanes;
  Vec sum[MR][NV];
#pragma GCC unroll 14
  for (int i = 0; i < MR; ++i) {
    for (int j = 0; j < NV; ++j) __builtin_prefetch(end.c + i * end.ldc + j * L, 1);
  }
#pragma GCC unroll 14
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) sum[i][j] = V::zero();
  }
  if constexpr (kPacked) {
    for (int64_t p = 0; p < k; ++p) {
      typename K::Operand bv[NV];
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) {
        bv[j] = K::load(b + j * L);
        if constexpr (MR <= 4) cpu::hold(bv[j]);
      }
#pragma GCC unroll 14
      for (int i = 0; i < MR; ++i) {
        const typename K::Operand av = K::broadcast(a + i);
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) sum[i][j] = K::multiply_add(av, bv[j], sum[i][j]);
      }
      a += MR;
      b += b_rs;
    }
  } else {
    // Rows in threes, so that base and base + (0, 1, 2) * a_rs are addressing modes and the pointers fit the registers.
    constexpr int kGroups = (MR + 2) / 3;
    const typename K::Elem* base[kGroups];
#pragma GCC unroll 5
    for (int g = 0; g < kGroups; ++g) base[g] = a + 3 * g * a_rs;
    for (int64_t p = 0; p < k; ++p) {
      typename K::Operand bv[NV];
#pragma GCC unroll 8
      for (int j = 0; j < NV - 1; ++j) bv[j] = V::load(b + j * L);
      bv[NV - 1] = V::load(b + (NV - 1) * L, mask);
      if constexpr (MR <= 4) {
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) cpu::hold(bv[j]);
      }
#pragma GCC unroll 14
      for (int i = 0; i < MR; ++i) {
        const typename K::Operand av = K::broadcast(base[i / 3] + (i % 3) * a_rs);
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) sum[i][j] = K::multiply_add(av, bv[j], sum[i][j]);
      }
#pragma GCC unroll 5
      for (int g = 0; g < kGroups; ++g) base[g] += a_cs;
      b += b_rs;
    }
  }
  // One pass for each part that there is: a test for each element would cost as much as a few steps of k.
  const auto each = [&](auto&& change) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) {
      const auto m = j == NV - 1 ? mask : V::tail(L);
#pragma GCC unroll 14
      for (int i = 0; i < MR; ++i) change(sum[i][j], end.c + i * end.ldc + j * L, j, m);
    }
  };
  if (end.alpha != 1) {
    const Vec alpha = V::set1(end.alpha);
    each([&](Vec& v, auto*, int, auto) { v = V::mul(alpha, v); });
  }
  if (end.beta != 0) {
    const Vec beta = V::set1(end.beta);
    each([&](Vec& v, const auto* c, int, auto m) { v = V::fma(beta, V::load(c, m), v); });
  }
  if (end.bias) each([&](Vec& v, auto*, int j, auto m) { v = V::add(v, V::load(end.bias + j * L, m)); });
  each([&](Vec& v, auto* c, int, auto m) { V::store(c, v, m); });
}

template <class K>
using TileFn = void (*)(int64_t, const typename K::Elem*, int64_t, int64_t, const typename K::Elem*, int64_t,
                        typename K::V::Mask, const TileEnd<typename K::Acc>&);

template <class K, bool kPacked, int... I>
constexpr auto tile_table(std::integer_sequence<int, I...>) {
  struct Table {
    TileFn<K> fn[sizeof...(I)];
  };
  constexpr int NV = K::V::kNv;
  return Table{{tile<K, I / NV + 1, I % NV + 1, kPacked>...}};
}

/// The tile function of `rows` rows and enough vectors for `columns`.
template <class K, bool kPacked>
TileFn<K> tile_fn(int64_t rows, int64_t columns) {
  using V = typename K::V;
  static constexpr auto table = tile_table<K, kPacked>(std::make_integer_sequence<int, V::kMr * V::kNv>());
  return table.fn[(rows - 1) * V::kNv + (columns - 1) / V::kLanes];
}

template <class K>
typename K::V::Mask last_mask(int64_t columns) {
  return K::V::tail(columns - (columns - 1) / K::V::kLanes * K::V::kLanes);
}

/// Elements after a packed panel that packing may overwrite.
inline constexpr int64_t kPanelSlack = 32;

#if defined(__AVX512F__)
/// r[t] becomes column t of the 16 x 16 block of 32-bit elements in r.
inline void transpose16(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

/// pack() for sources contiguous along k that fill 32 bits an Elem; width is at most 16, or a multiple of 16.
template <class Source>
void pack_transposed(uint32_t* dst, int64_t width, int64_t w_count, int64_t k, const Source* src, int64_t w_stride) {
  constexpr int64_t kPer = 4 / sizeof(Source);  // source elements in 32 bits
  const int64_t steps = (k + kPer - 1) / kPer;
  for (int64_t w0 = 0; w0 < width; w0 += 16) {
    const int64_t rows = std::clamp<int64_t>(w_count - w0, 0, 16);
    for (int64_t p0 = 0; p0 < steps; p0 += 16) {
      __m512i r[16];
      const int64_t left = k - p0 * kPer;
      if (rows == 16 && left >= 16 * kPer) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(src + (w0 + i) * w_stride + p0 * kPer);
      } else {
        const auto mask = left >= 16 * kPer ? ~0u : (1u << left) - 1;
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          r[i] = _mm512_setzero_si512();
          if (i >= rows) continue;
          const Source* row = src + (w0 + i) * w_stride + p0 * kPer;
          if constexpr (kPer == 1) {
            r[i] = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(mask), row);
          } else {
            r[i] = _mm512_maskz_loadu_epi16(mask, row);
          }
        }
      }
      transpose16(r);
      const int64_t count = std::min<int64_t>(16, steps - p0);
      uint32_t* out = dst + p0 * width + w0;
      // Ascending whole-vector stores: what spills past the width is overwritten by the next row (or is slack).
      if (count == 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * width, r[i]);
      } else {
        for (int i = 0; i < count; ++i) _mm512_storeu_si512(out + i * width, r[i]);
      }
    }
  }
}
#endif

/// Writes the panel dst[p * width + w] (p in Elem steps along k, padded with zeros) of source elements
/// src[w * w_stride + q * k_stride], w < w_count <= width, q < k. May spoil kPanelSlack elements after the panel.
template <class K>
void pack(typename K::Elem* dst, int64_t width, int64_t w_count, int64_t k, const typename K::Source* src,
          int64_t w_stride, int64_t k_stride) {
#if defined(__AVX512F__)
  if constexpr (sizeof(typename K::Source) * K::kPair == 4) {
    if (k_stride == 1) {
      return pack_transposed(reinterpret_cast<uint32_t*>(dst), width, w_count, k, src, w_stride);
    }
  }
  if constexpr (K::kPair == 2) {
    if (w_stride == 1) {
      const __m512i order_low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7,
                                                 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
      const __m512i order_high = _mm512_add_epi16(order_low, _mm512_set1_epi16(16));
      const auto mask = static_cast<__mmask32>(w_count >= 32 ? ~0u : (1u << w_count) - 1);
      for (int64_t p = 0; 2 * p < k; ++p) {
        const auto* row = src + 2 * p * k_stride;
        const __m512i low = _mm512_maskz_loadu_epi16(mask, row);
        const __m512i high = 2 * p + 1 < k ? _mm512_maskz_loadu_epi16(mask, row + k_stride) : _mm512_setzero_si512();
        _mm512_storeu_si512(dst + p * width, _mm512_permutex2var_epi16(low, order_low, high));
        if (width > 16) _mm512_storeu_si512(dst + p * width + 16, _mm512_permutex2var_epi16(low, order_high, high));
      }
      return;
    }
    for (int64_t p = 0; 2 * p < k; ++p) {
      for (int64_t w = 0; w < width; ++w) {
        const auto* at = src + w * w_stride + 2 * p * k_stride;
        const uint32_t low = w < w_count ? at[0] : 0;
        const uint32_t high = w < w_count && 2 * p + 1 < k ? at[k_stride] : 0;
        dst[p * width + w] = low | high << 16;
      }
    }
    return;
  }
#endif
  if constexpr (K::kPair == 1) {
    using V = typename K::V;
    if constexpr (std::is_same_v<typename K::Source, typename K::Elem>) {
      if (w_stride == 1) {
        constexpr int64_t L = V::kLanes;
        for (int64_t p = 0; p < k; ++p) {
          for (int64_t w = 0; w < width; w += L) {
            V::store(dst + p * width + w, V::load(src + p * k_stride + w, V::tail(std::max<int64_t>(0, w_count - w))));
          }
        }
        return;
      }
    }
    for (int64_t p0 = 0; p0 < k; p0 += 16) {
      const int64_t p1 = std::min(k, p0 + 16);
      for (int64_t w = 0; w < width; ++w) {
        for (int64_t p = p0; p < p1; ++p) {
          dst[p * width + w] = w < w_count ? K::convert(src[w * w_stride + p * k_stride]) : typename K::Elem(0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace weft::kernels
