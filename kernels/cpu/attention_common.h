#pragma once
// What attention forward and backward share: typed operands, tile products, mask. Included by attention_*.cpp only.
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/gemm_blocks.h"

namespace weft::kernels {
namespace {

/// Multiplications that a thread takes at a time, beside powers of two: some microseconds.
inline constexpr int64_t kAttentionWork = 1 << 18;
inline constexpr double kLog2E = 1.4426950408889634074, kLn2 = 0.69314718055994530942;

/// Rows of a matrix in the type of the sums; row r at data + r * stride.
template <class T>
struct Rows {
  T* data;
  int64_t stride;
  T* operator[](int64_t r) const { return data + r * stride; }
};

template <class S>
const S* matrix(const AttentionOperand& x, int64_t batch, int64_t head) {
  return static_cast<const S*>(x.data) + batch * x.batch_stride + head * x.head_stride;
}
template <class S>
S* matrix(const AttentionResult& x, int64_t batch, int64_t head) {
  return static_cast<S*>(x.data) + batch * x.batch_stride + head * x.head_stride;
}

/// Rows [first, last) of one head in the type of the sums: where they lie, or widened into `room`.
template <class K>
Rows<const typename K::Acc> rows_of(const AttentionOperand& x, int64_t batch, int64_t head, int64_t first, int64_t last,
                                    int64_t width, typename K::Acc* room) {
  const auto* from = matrix<typename K::Source>(x, batch, head) + first * x.time_stride;
  if constexpr (std::is_same_v<typename K::Source, typename K::Acc>) {
    return {from, x.time_stride};
  } else {
    for (int64_t r = 0; r < last - first; ++r) {
      for (int64_t i = 0; i < width; ++i) room[r * width + i] = K::convert(from[r * x.time_stride + i]);
    }
    return {room, width};
  }
}

/// The transposed panels of rows [first, last): panel p holds [width][kNr] of rows first + p * kNr ...
template <class K>
void pack_keys(const AttentionOperand& x, int64_t batch, int64_t head, int64_t first, int64_t last, int64_t width,
               typename K::Acc* panels) {
  constexpr int64_t kNr = Blocking<K>::kNr;
  const auto* from = matrix<typename K::Source>(x, batch, head);
  for (int64_t r = first; r < last; r += kNr) {
    pack<K>(panels, kNr, std::min(kNr, last - r), width, from + r * x.time_stride, x.time_stride, 1);
    panels += width * kNr;
  }
}

/// c [rows, columns] = alpha * A B + (keep ? c : 0) for at most kMr rows; A by strides, B rows of stride b_rs.
template <class T>
void tile_product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_rs, int64_t a_cs, const T* b,
                  int64_t b_rs, T* c, int64_t ldc, T alpha, bool keep) {
  using K = Plain<T>;
  constexpr int64_t kNr = Blocking<K>::kNr;
  for (int64_t j = 0; j < columns; j += kNr) {
    const int64_t n = std::min(kNr, columns - j);
    tile_fn<K, false>(rows, n)(depth, a, a_rs, a_cs, b + j, b_rs, last_mask<K>(n),
                               {c + j, ldc, alpha, keep ? T(1) : T(0), nullptr});
  }
}

/// c [rows, count] = alpha * A K^T for packed keys; columns are written up to the next multiple of kNr.
template <class T>
void key_product(int64_t rows, int64_t count, int64_t depth, const T* a, int64_t a_rs, const T* panels, T* c,
                 int64_t ldc, T alpha) {
  using K = Plain<T>;
  constexpr int64_t kNr = Blocking<K>::kNr;
  for (int64_t j = 0; j < count; j += kNr) {
    tile_fn<K, false>(rows, kNr)(depth, a, a_rs, 1, panels + j * depth, kNr, last_mask<K>(kNr),
                                 {c + j, ldc, alpha, T(0), nullptr});
  }
}

/// Adds the mask of one row to scores in units of log2: keys [first, first + n).
template <class K>
void add_mask(const Attention& a, int64_t batch, int64_t head, int64_t row, int64_t first, int64_t n,
              typename K::Acc* s) {
  using T = typename K::Acc;
  const int64_t step = a.mask_strides[3];
  const int64_t at = batch * a.mask_strides[0] + head * a.mask_strides[1] + row * a.mask_strides[2] + first * step;
  if (a.bool_mask) {
    const uint8_t* m = static_cast<const uint8_t*>(a.mask) + at;
    for (int64_t j = 0; j < n; ++j) s[j] = m[j * step] ? s[j] : -std::numeric_limits<T>::infinity();
  } else {
    const auto* m = static_cast<const typename K::Source*>(a.mask) + at;
    for (int64_t j = 0; j < n; ++j) s[j] += static_cast<T>(K::convert(m[j * step])) * T(kLog2E);
  }
}

/// Rows of a tile: at most kMr, as even as can be.
template <class T>
int64_t tile_rows(int64_t rows) {
  const int64_t tiles = (rows + Simd<T>::kMr - 1) / Simd<T>::kMr;
  return tiles == 0 ? 1 : (rows + tiles - 1) / tiles;
}

}  // namespace
}  // namespace weft::kernels
