#include "core/ops/reduce.h"

#include "autograd/node.h"
#include "core/host_read.h"
#include "core/ops/pointwise_api.h"
#include "core/thread_state.h"

namespace weft::rules {
namespace {

Tensor restored(const Tensor& t, const ReduceAttrs& a) { return detail::restore_dims(t, a.sizes, a.mask, a.keepdim); }

// Products of the elements before (after) each one along dimension 0, by doubling: log2(n) steps, each differentiable.
Tensor products_beside(const Tensor& x, bool before) {
  const int64_t n = x.size(0);
  auto tail = [&](const Tensor& t, int64_t step) { return before ? t.slice(0, step) : t.slice(0, 0, n - step); };
  auto head = [&](const Tensor& t, int64_t step) { return before ? t.slice(0, 0, n - step) : t.slice(0, step); };
  Tensor y = ones_like(x);
  if (n > 1) tail(y, 1).copy_(head(x, 1));
  for (int64_t step = 1; step < n; step *= 2) {
    Tensor next = y.clone();
    tail(next, step).copy_(tail(y, step).mul(head(y, step)));
    y = next;
  }
  return y;
}

}  // namespace

void sum(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<ReduceAttrs>();
  Tensor each = a.divisor == 1.0 ? g[0] : g[0].div(a.divisor);
  gin[0] = restored(each, a).expand(a.sizes);
}

// d prod / d x_i = product of all others = y / x_i where nothing is 0.
void prod(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<ReduceAttrs>();
  Tensor x = n.input(0), y = n.output(0);
  Tensor scale = restored(g[0], a);
  bool zeros = false;
  {
    NoGrad guard;
    const detail::HostRead read("gradient of prod: zeros among the values change its formula");
    zeros = x.eq(0).any().item().truth();
  }
  if (!zeros) {
    gin[0] = scale.mul(restored(y, a)).div(x);
    return;
  }
  // The reduced dimensions as one, in front.
  Dims order, inverse;
  for (int d = 0; d < x.dim(); ++d)
    if (a.mask >> d & 1) order.push_back(d);
  for (int d = 0; d < x.dim(); ++d)
    if (!(a.mask >> d & 1)) order.push_back(d);
  inverse = order;
  for (int d = 0; d < order.size(); ++d) inverse[static_cast<int>(order[d])] = d;
  Tensor front = x.permute(order).to(y.dtype());
  Dims front_sizes = front.sizes();
  Tensor flat = front.reshape({detail::reduced_count(a.sizes, a.mask), -1});
  Tensor others = products_beside(flat, true).mul(products_beside(flat, false));
  gin[0] = scale.mul(others.reshape(front_sizes).permute(inverse));
}

// The gradient goes to every element equal to the result, in equal shares; of max() and min() that is NaN, to every
// NaN.
void extreme(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<ReduceAttrs>();
  Tensor share;
  {
    NoGrad guard;
    Tensor x = n.input(0), y = n.output(0);
    Tensor here = x.eq(restored(y, a));
    if (n.op == &MaxOp::record || n.op == &MinOp::record) here = here.logical_or(x.isnan());
    share = here.to(g[0].dtype());
    DimList dims;
    dims.all = false;
    for (int d = 0; d < a.sizes.size(); ++d)
      if (a.mask >> d & 1) dims.dims.push_back(d);
    if (!dims.dims.empty()) share = share.div(share.sum({.dim = dims, .keepdim = true}));
  }
  gin[0] = restored(g[0], a).mul(share);
}

}  // namespace weft::rules
