#pragma once

#include <algorithm>

#include "kernels/cuda/elements.cuh"

namespace weft::gpu {

/// Dense lines [rows, n], and the first k of each in order: [rows, k].
struct SortLines {
  const void* x;
  void* values;
  i64* indices;
  i64 rows, n, k;

  template <class S>
  WEFT_FN void write(i64 row, i64 at, i64 place) const {
    static_cast<S*>(values)[row * k + at] = static_cast<const S*>(x)[row * n + place];
    indices[row * k + at] = place;
  }
  SortLines rows_from(i64 row, i64 count, size_t size) const {
    return {static_cast<const char*>(x) + row * n * i64(size),
            static_cast<char*>(values) + row * k * i64(size),
            indices + row * k,
            count,
            n,
            k};
  }
};

/// False, and nothing done: sorting the lines is the better way.
bool select_lines(const SortLines& lines, DType dtype, bool descending);

}  // namespace weft::gpu
