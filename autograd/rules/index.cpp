#include "core/ops/index.h"

#include "autograd/node.h"

namespace weft::rules {

// y = x[linear]: every element of x sums the gradients of the elements taken from it, halves in f32.
void index(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<IndexOp::Attrs>();
  DType t = g[0].dtype() == DType::bf16 || g[0].dtype() == DType::f16 ? DType::f32 : g[0].dtype();
  Tensor sum = zeros(a.input_sizes, {.dtype = t, .device = g[0].device()});
  detail::index_put_linear(sum, n.input(1), g[0].to(t), a.first, a.count, true);
  gin[0] = sum;
}

// y = x with y[linear] = values, or y[linear] += alpha values.
void index_put(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<IndexPutOp::Attrs>();
  Tensor linear = n.input(1);
  if (n.needs(0)) {
    gin[0] = g[0];
    if (!a.accumulate) {
      gin[0] = g[0].clone();
      detail::index_put_linear(gin[0], linear, zeros({}, {.dtype = g[0].dtype(), .device = g[0].device()}), a.first,
                               a.count, false);
    }
  }
  if (n.needs(2)) {
    gin[2] = detail::index_linear(g[0], linear, a.first, a.count);
    if (a.accumulate && a.alpha.f64() != 1) gin[2] = gin[2].mul(a.alpha);
  }
}

}  // namespace weft::rules
