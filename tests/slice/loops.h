#pragma once

#include <cstdint>

// Loops compiled when the program is built, with the flags of kernels.
namespace weft::slice {

using i64 = int64_t;

// softmax of one row in one go, of many contiguous rows, and in 512-element tiles as a tile interpreter runs it.
template <class T>
void softmax_row(i64 n, const T* x, T* y);
template <class T>
void softmax_rows(i64 rows, i64 n, const T* x, T* y);
template <class T>
void tiled_softmax_row(i64 n, const T* x, T* y);

}  // namespace weft::slice
