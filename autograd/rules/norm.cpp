#include "core/ops/norm.h"

#include "autograd/node.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/thread_state.h"

namespace weft::rules {
namespace {

void fused(Node& n, const Tensor& g, Tensor* gin) {
  const auto& a = n.attrs<NormAttrs>();
  const Tensor x = n.input(0), weight = n.input(1);
  const Tensor in[5] = {g, x, weight, n.output(1), n.output(2)};
  Tensor out[3];
  if (n.needs(0)) out[0] = detail::allocate(x.sizes(), x.dtype(), x.device());
  for (int k = 1; k < 3; ++k)
    if (n.needs(k))
      out[k] = detail::allocate(a.parameter_sizes, weight.defined() ? weight.dtype() : x.dtype(), x.device());
  dispatch(NormalizeRowsBackwardOp::record, in, out, a);
  for (int k = 0; k < 3; ++k) gin[k] = out[k];
}

// The same in public ops. x as [images, cycle, values of a row, span].
void differentiable(Node& n, const Tensor& g, Tensor* gin) {
  const auto& a = n.attrs<NormAttrs>();
  const Tensor x = n.input(0), weight = n.input(1);
  const Dims grid{a.rows / a.cycle, a.cycle, a.per_row(), a.span};
  const ReduceOptions row{.dim = {2, 3}, .keepdim = true};
  Tensor xr = x.reshape(grid), gr = g.reshape(grid);
  Tensor centred = a.centred ? xr.sub(xr.mean(row)) : xr;
  Tensor scale = centred.square().mean(row).add(a.eps).rsqrt();
  Tensor h = centred.mul(scale);
  if (n.needs(0)) {
    Tensor u = weight.defined() ? gr.mul(weight.reshape({1, a.cycle, a.per_row(), 1})) : gr;
    Tensor gx = u.sub(h.mul(u.mul(h).mean(row)));
    if (a.centred) gx = gx.sub(u.mean(row));
    gin[0] = gx.mul(scale).reshape(x.sizes());
  }
  if (n.needs(1)) gin[1] = gr.mul(h).sum({.dim = {0, 3}}).reshape(a.parameter_sizes);
  if (n.needs(2)) gin[2] = gr.sum({.dim = {0, 3}}).reshape(a.parameter_sizes);
}

}  // namespace

void normalize_rows(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  if (is_grad_enabled())
    differentiable(n, g[0], gin);
  else
    fused(n, g[0], gin);
}

}  // namespace weft::rules
