#include "core/ops/cross_entropy.h"

#include "autograd/node.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/thread_state.h"

namespace weft::rules {
namespace {

// g ((1 - s) w_t (p - [c = t]) + s / C (W p - w)), 0 where the target is ignored; p = 0 for log-probabilities.
Tensor differentiable(const Node& n, const Tensor& g) {
  const auto& a = n.attrs<ClassLossAttrs>();
  const Tensor x = n.input(0).to(g.dtype()), target = n.input(1).unsqueeze(a.dim), given = n.input(2);
  Dims along = Dims::filled(x.dim(), 1);
  along[a.dim] = x.size(a.dim);
  const double classes = static_cast<double>(x.size(a.dim));
  Tensor here = arange(0, x.size(a.dim), 1, {.device = x.device()}).view(along).eq(target);
  Tensor weight = (given.defined() ? given.detach() : ones({x.size(a.dim)}, {.dtype = x.dtype(), .device = x.device()}))
                      .view(along);
  Tensor own = where(here, weight, 0.0).sum({.dim = a.dim, .keepdim = true});
  Tensor row = g;
  if (a.reduction == Reduction::none)
    row = g.unsqueeze(a.dim);
  else if (a.reduction == Reduction::mean)
    row = g.div(n.output(2).to(g.dtype()));
  Tensor inner = where(here, own, 0.0).neg();
  if (a.logits) inner = inner.add(own.mul(softmax(x, a.dim)));
  inner = inner.mul(1 - a.smoothing);
  if (a.smoothing > 0) inner = inner.add(softmax(x, a.dim).mul(weight.sum()).sub(weight).mul(a.smoothing / classes));
  return where(target.eq(a.ignore_index), 0.0, row.mul(inner));
}

}  // namespace

void class_loss(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined() || !n.needs(0)) return;
  if (is_grad_enabled()) {
    gin[0] = differentiable(n, g[0]).to(n.input(0).dtype());
    return;
  }
  const Tensor x = n.input(0);
  const Tensor in[6] = {g[0], x, n.input(1), n.input(2), n.output(1), n.output(2)};
  Tensor out = detail::allocate(x.sizes(), x.dtype(), x.device());
  dispatch(ClassLossBackwardOp::record, in, out, n.attrs<ClassLossAttrs>());
  gin[0] = out;
}

}  // namespace weft::rules
