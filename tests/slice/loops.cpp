#include "tests/slice/loops.h"

#include "core/ops/softmax_row.h"

namespace weft::slice {
template <class T>
void softmax_row(i64 n, const T* x, T* y) {
  softmax_order::forward_row(n, x, y);
}

template <class T>
void softmax_rows(i64 rows, i64 n, const T* x, T* y) {
  softmax_order::forward_rows(rows, n, x, y);
}

template <class T>
void tiled_softmax_row(i64 n, const T* x, T* y) {
  auto reduce = [&]<class Combine>(Combine, const T* v) {
    auto block = [&](i64 start, i64 size) {
      T lanes[reduction::kLanes];
      reduction::clear_lanes<Combine>(lanes);
      for (i64 t = 0; t < size; t += 512)
        reduction::fill_lanes<Combine>(lanes, size - t < 512 ? size - t : 512, [&](i64 i) { return v[start + t + i]; });
      return reduction::tree<Combine>(lanes);
    };
    i64 blocks = reduction::block_count(n);
    if (blocks <= 1) return block(0, n);
    return reduction::block<Combine, T>(
        blocks, [&](i64 b) { return block(b * reduction::kBlock, reduction::block_size(n, b)); });
  };
  T largest = reduce(reduction::Max<T>{}, x);
  for (i64 t = 0; t < n; t += 512) {
    WEFT_VECTOR_LOOP
    for (i64 i = t; i < (t + 512 < n ? t + 512 : n); ++i) y[i] = softmax_order::weight(x[i], largest);
  }
  T sum = reduce(reduction::Sum<T>{}, y);
  for (i64 i = 0; i < n; ++i) y[i] = y[i] / sum;
}

template void softmax_row(i64, const float*, float*);
template void softmax_row(i64, const double*, double*);
template void softmax_rows(i64, i64, const float*, float*);
template void softmax_rows(i64, i64, const double*, double*);
template void tiled_softmax_row(i64, const float*, float*);
template void tiled_softmax_row(i64, const double*, double*);

}  // namespace weft::slice
