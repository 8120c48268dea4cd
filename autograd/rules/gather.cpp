#include "core/ops/gather.h"

#include "autograd/node.h"

namespace weft::rules {

// y = x[..index..]: an element of x sums the gradients of its copies.
void gather(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<GatherOp::Attrs>();
  gin[0] = zeros(a.input_sizes, {.dtype = g[0].dtype(), .device = g[0].device()}).scatter_add(a.dim, n.input(1), g[0]);
}

// y = x, then y[..index..] = src or += src.
void scatter(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<ScatterOp::Attrs>();
  if (n.needs(0)) gin[0] = a.mode == ScatterMode::add ? g[0] : g[0].scatter(a.dim, n.input(1), Scalar(0));
  if (n.needs(2)) gin[2] = g[0].gather(a.dim, n.input(1));
}

}  // namespace weft::rules
