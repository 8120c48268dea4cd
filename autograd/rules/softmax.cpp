#include "core/ops/softmax.h"

#include "autograd/node.h"
#include "core/ops/reduce.h"
#include "core/pointwise.h"
#include "core/thread_state.h"

// One pass of a fused kernel, or, when the gradient itself is to be differentiated, public ops.
namespace weft::rules {
namespace {
Tensor fused(const OpRecord& op, const Node& n, const Tensor& g, const Tensor& y) {
  Tensor out = detail::allocate(y.sizes(), y.dtype(), y.device());
  const Tensor in[2] = {g, y};
  dispatch(op, in, out, n.attrs<SoftmaxAttrs>());
  return out;
}
}  // namespace

// y (g - sum(g y))
void softmax(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  Tensor y = n.output(0);
  if (!is_grad_enabled())
    gin[0] = fused(SoftmaxBackwardOp::record, n, g[0], y);
  else
    gin[0] = y.mul(g[0].sub(g[0].mul(y).sum({.dim = n.attrs<SoftmaxAttrs>().dim, .keepdim = true})));
}
// g - exp(y) sum(g)
void log_softmax(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  Tensor y = n.output(0);
  if (!is_grad_enabled())
    gin[0] = fused(LogSoftmaxBackwardOp::record, n, g[0], y);
  else
    gin[0] = g[0].sub(y.exp().mul(g[0].sum({.dim = n.attrs<SoftmaxAttrs>().dim, .keepdim = true})));
}

}  // namespace weft::rules
