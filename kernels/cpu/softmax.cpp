#include "core/ops/softmax.h"

#include "core/ops/math.h"
#include "core/ops/softmax_row.h"
#include "kernels/cpu/reduce_block.h"
#include "kernels/cpu/rows.h"

namespace weft::cpu {
namespace {

template <class T>
using Sum = reduction::Sum<T>;

// The bits of core/ops/softmax_row.h. Sums run block by block over what was just written.
template <class T>
void softmax_row(const T* x, T* y, int64_t n) {
  const T largest = largest_number(x, n);
  prefetch_next_row(x, n);
  const T sum = reduce_row_by<Sum<T>, T>(n, [=](int64_t first, int64_t count) {
    WEFT_VECTOR_LOOP
    for (int64_t i = first; i < first + count; ++i) y[i] = math::exp(x[i] - largest);
    return y + first;
  });
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) y[i] = y[i] / sum;
}
// x - m - log(sum exp(x - m)), m = max x
template <class T>
void log_softmax_row(const T* x, T* y, int64_t n) {
  const T largest = largest_number(x, n);
  const T log_sum = math::log(reduce_row_by<Sum<T>, T>(n, [=](int64_t first, int64_t count) {
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < count; ++i) y[i] = math::exp(x[first + i] - largest);
    return y;
  }));
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] - largest - log_sum;
}
// y (g - sum(g y))
template <class T>
void softmax_backward_row(const T* g, const T* y, T* gx, int64_t n) {
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) gx[i] = g[i] * y[i];
  const T sum = reduce_row<Sum<T>>(gx, n);
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) gx[i] = y[i] * (g[i] - sum);
}
// g - exp(y) sum(g)
template <class T>
void log_softmax_backward_row(const T* g, const T* y, T* gx, int64_t n) {
  const T sum = reduce_row<Sum<T>>(g, n);
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) gx[i] = g[i] - math::exp(y[i]) * sum;
}

// f.run<T>() for the type that out is computed in.
template <class F>
void in_compute_type(const Tensor& out, F f) {
  if (out.dtype() == DType::f64)
    f(double{});
  else
    f(float{});
}

}  // namespace

void softmax(const OpCall& c) {
  const Tensor in[1] = {dense(c.in[0])};
  const RowShape shape(in[0].sizes(), c.as<SoftmaxAttrs>().dim);
  in_compute_type(c.out[0], [&]<class T>(T) {
    constexpr int64_t kShort = 48;  // such rows are faster together
    if (shape.n <= kShort && shape.inner == 1 && in[0].dtype() == dtype_of<T> && c.out[0].dtype() == dtype_of<T>) {
      const T* x = static_cast<const T*>(in[0].data_ptr());
      T* y = static_cast<T*>(c.out[0].data_ptr());
      return parallel_for(shape.outer, 16384 / std::max<int64_t>(shape.n, 1),
                          [=, n = shape.n](int64_t begin, int64_t end) {
                            softmax_order::forward_rows(end - begin, n, x + begin * n, y + begin * n);
                          });
    }
    each_row<T>(shape, in, c.out[0],
                [](const T* const* x_row, T* y, int64_t n, int64_t) { softmax_row(x_row[0], y, n); });
  });
}
void log_softmax(const OpCall& c) {
  const Tensor in[1] = {dense(c.in[0])};
  const RowShape shape(in[0].sizes(), c.as<SoftmaxAttrs>().dim);
  in_compute_type(c.out[0], [&]<class T>(T) {
    each_row<T>(shape, in, c.out[0], [](const T* const* x, T* y, int64_t n, int64_t) { log_softmax_row(x[0], y, n); });
  });
}
void softmax_backward(const OpCall& c) {
  const Tensor in[2] = {dense(c.in[0]), dense(c.in[1])};
  const RowShape shape(in[0].sizes(), c.as<SoftmaxAttrs>().dim);
  in_compute_type(c.out[0], [&]<class T>(T) {
    each_row<T>(shape, in, c.out[0],
                [](const T* const* x, T* gx, int64_t n, int64_t) { softmax_backward_row(x[0], x[1], gx, n); });
  });
}
void log_softmax_backward(const OpCall& c) {
  const Tensor in[2] = {dense(c.in[0]), dense(c.in[1])};
  const RowShape shape(in[0].sizes(), c.as<SoftmaxAttrs>().dim);
  in_compute_type(c.out[0], [&]<class T>(T) {
    each_row<T>(shape, in, c.out[0],
                [](const T* const* x, T* gx, int64_t n, int64_t) { log_softmax_backward_row(x[0], x[1], gx, n); });
  });
}

}  // namespace weft::cpu
