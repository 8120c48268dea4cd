#pragma once

#include <cstdint>
#include <string_view>

// Loops over the records as eager execution has them: compiled when the program is built, with the flags of kernels.
namespace weft::slice {

using i64 = int64_t;

// y[i] = record(a[i], b[i], alpha), as many of the arguments as the record takes.
template <class T>
using Loop = void (*)(const T* a, const T* b, T alpha, T* y, i64 n);
// The loop of "Add", "Sigmoid", ... for T float or double.
template <class T>
Loop<T> find_loop(std::string_view record);

// softmax of one row in one go, and in 512-element tiles as a tile interpreter runs it.
template <class T>
void softmax_row(i64 n, const T* x, T* y);
template <class T>
void tiled_softmax_row(i64 n, const T* x, T* y);

}  // namespace weft::slice
