#pragma once
// Copies between layouts and element types: what the kernels do to operands they cannot use in place.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu {

/// A storage value as the type T it is computed in (bf16 and f16 in float), and back, rounded to nearest even.
template <class T, class S>
inline T widen(S x) {
  if constexpr (std::is_same_v<S, BFloat16> || std::is_same_v<S, Half>) {
    return to_float(x);
  } else {
    return static_cast<T>(x);
  }
}
template <class S, class T>
inline S narrow(T x) {
  if constexpr (std::is_same_v<S, BFloat16>) return to_bf16(x);
  if constexpr (std::is_same_v<S, Half>) return to_f16(x);
  if constexpr (std::is_arithmetic_v<S>) return static_cast<S>(x);
}

/// A matrix element (i, j) at data[i * row + j * col].
template <class S>
struct Matrix {
  S* data;
  int64_t row, col;
};

/// out(i, j) = in(i, j) with conversion, for any strides; fast where one side is contiguous along j or transposed.
template <class T, class S>
void copy_matrix(Matrix<const S> in, Matrix<T> out, int64_t rows, int64_t cols) {
  if constexpr (std::is_same_v<T, S>) {
    if (in.col == 1 && out.col == 1) {
      for (int64_t i = 0; i < rows; ++i) std::copy_n(in.data + i * in.row, cols, out.data + i * out.row);
      return;
    }
    if (in.col == 1 && out.row == 1) return transpose(in.data, in.row, out.data, out.col, rows, cols);
    if (in.row == 1 && out.col == 1) return transpose(in.data, in.col, out.data, out.row, cols, rows);
  }
  const auto convert = [](S x) {
    if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>)
      return narrow<T>(x);
    else
      return widen<T>(x);
  };
  if (out.col != 1 && out.row == 1) {
    for (int64_t j = 0; j < cols; ++j)
      for (int64_t i = 0; i < rows; ++i) out.data[i + j * out.col] = convert(in.data[i * in.row + j * in.col]);
    return;
  }
  if (in.col == 1 && out.col == 1) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) out.data[i * out.row + j] = convert(in.data[i * in.row + j]);
    return;
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) out.data[i * out.row + j * out.col] = convert(in.data[i * in.row + j * in.col]);
}

}  // namespace weft::cpu
