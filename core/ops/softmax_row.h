#pragma once

#include "core/reduction_order.h"

// One row of softmax, std-free: eager loops, tiles, generated code and CUDA kernels are built from these pieces.
//   y_i = exp(x_i - m) / sum_j exp(x_j - m), m = max_j x_j
namespace weft::softmax_order {

using math::i64;

template <class T>
WEFT_FN T weight(T x, T largest) {
  return math::exp(x - largest);
}

// x and y may be the same row.
template <class T>
WEFT_FN void forward_row(i64 n, const T* x, T* y) {
  T largest = reduction::row<reduction::Max<T>, T>(n, [=](i64 i) { return x[i]; });
  WEFT_VECTOR_LOOP
  for (i64 i = 0; i < n; ++i) y[i] = weight(x[i], largest);
  T sum = reduction::row<reduction::Sum<T>, T>(n, [=](i64 i) { return y[i]; });
  WEFT_VECTOR_LOOP
  for (i64 i = 0; i < n; ++i) y[i] = y[i] / sum;
}

// Contiguous rows of n elements, bits as forward_row(): short rows share the vector loop of the exponentials.
template <class T>
WEFT_FN void forward_rows(i64 rows, i64 n, const T* x, T* y) {
  constexpr i64 kShort = 48, kBatch = 64;
  if (n > kShort) {
    for (i64 r = 0; r < rows; ++r) forward_row(n, x + r * n, y + r * n);
    return;
  }
  T largest[kBatch], sum[kBatch];
  for (i64 first = 0; first < rows; first += kBatch) {
    const i64 batch = rows - first < kBatch ? rows - first : kBatch;
    const T* from = x + first * n;
    T* to = y + first * n;
    reduction::rows<reduction::Max<T>, T>(
        batch, n, [=](i64 r, i64 i) { return from[r * n + i]; }, [&](i64 r, T value) { largest[r] = value; });
    for (i64 r = 0; r < batch; ++r) {
      WEFT_VECTOR_LOOP
      for (i64 i = 0; i < n; ++i) to[r * n + i] = from[r * n + i] - largest[r];
    }
    WEFT_VECTOR_LOOP
    for (i64 k = 0; k < batch * n; ++k) to[k] = math::exp(to[k]);
    reduction::rows<reduction::Sum<T>, T>(
        batch, n, [=](i64 r, i64 i) { return to[r * n + i]; }, [&](i64 r, T value) { sum[r] = value; });
    for (i64 r = 0; r < batch; ++r) {
      WEFT_VECTOR_LOOP
      for (i64 i = 0; i < n; ++i) to[r * n + i] = to[r * n + i] / sum[r];
    }
  }
}

}  // namespace weft::softmax_order
