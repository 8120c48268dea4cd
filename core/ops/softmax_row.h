#pragma once

#include "core/reduction_order.h"

// One row of softmax, std-free: eager loops, tiles, generated code and CUDA kernels are built from these pieces.
//   y_i = exp(x_i - m) / sum_j exp(x_j - m), m = max_j x_j
namespace weft::softmax {

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

}  // namespace weft::softmax
