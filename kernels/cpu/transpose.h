#pragma once
// Transposed blocks of elements of any dtype: bits are moved, nothing is computed.
#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu {

namespace detail {
template <class T>
void transpose_words(const char* in, int64_t in_stride, char* out, int64_t out_stride, int64_t rows, int64_t cols,
                     [[maybe_unused]] bool past_caches) {
  const T* x = reinterpret_cast<const T*>(in);
  T* y = reinterpret_cast<T*>(out);
  if constexpr (sizeof(T) >= 4) {
    if (past_caches && reinterpret_cast<uintptr_t>(y) % kVectorBytes == 0 && out_stride % kLanes<T> == 0)
      transpose<T, true>(x, in_stride, y, out_stride, rows, cols);
    else
      transpose(x, in_stride, y, out_stride, rows, cols);
  } else {
    constexpr int64_t n = 32;  // a block of lines of both sides stays in L1
    for (int64_t i0 = 0; i0 < rows; i0 += n)
      for (int64_t j0 = 0; j0 < cols; j0 += n)
        for (int64_t j = j0; j < std::min(cols, j0 + n); ++j)
          for (int64_t i = i0; i < std::min(rows, i0 + n); ++i) y[j * out_stride + i] = x[i * in_stride + j];
  }
}
}  // namespace detail

/// out[j * out_stride + i] = in[i * in_stride + j] for i < rows, j < cols; elements of 1, 2, 4 or 8 bytes, strides in
/// elements. The ranges must not overlap. `past_caches`: by streamed stores where that is possible; streamed() must
/// follow.
inline void transpose_bytes(const void* in, int64_t in_stride, void* out, int64_t out_stride, int64_t rows,
                            int64_t cols, int64_t item, bool past_caches = false) {
  const char* x = static_cast<const char*>(in);
  char* y = static_cast<char*>(out);
  switch (item) {
    case 8:
      return detail::transpose_words<double>(x, in_stride, y, out_stride, rows, cols, past_caches);
    case 4:
      return detail::transpose_words<float>(x, in_stride, y, out_stride, rows, cols, past_caches);
    case 2:
      return detail::transpose_words<uint16_t>(x, in_stride, y, out_stride, rows, cols, past_caches);
    default:
      WEFT_ASSERT(item == 1, "transpose: elements of {} bytes", item);
      return detail::transpose_words<uint8_t>(x, in_stride, y, out_stride, rows, cols, past_caches);
  }
}

}  // namespace weft::cpu
