#include "core/ops/batch_norm.h"

#include "autograd/autograd.h"
#include "autograd/node.h"
#include "core/ops/extents.h"
#include "core/ops/pointwise_api.h"

namespace weft::rules {
namespace {

Dims all_but_channels(const Tensor& x) {
  Dims d{0};
  for (int i = 2; i < x.dim(); ++i) d.push_back(i);
  return d;
}

Tensor per_channel(const Tensor& t, const Tensor& x) {
  Dims sizes = Dims::filled(x.dim(), 1);
  sizes[1] = x.size(1);
  return t.view(sizes).to(x.dtype());
}

}  // namespace

void batch_norm(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<BatchNormAttrs>();
  const Tensor x = n.input(0), weight = n.input(1);
  const DType stats = n.output(1).dtype(), parameter = weight.defined() ? weight.dtype() : stats;
  Tensor out[3];
  if (n.needs(0)) out[0] = detail::allocate(x.sizes(), detail::strides_of(x.sizes(), a.format), x.dtype(), x.device());
  for (int i = 1; i <= 2; ++i)
    if (n.needs(i)) out[i] = detail::allocate({x.size(1)}, parameter, x.device());
  const Tensor in[5] = {g[0], x, weight, n.output(1), n.output(2)};
  dispatch(BatchNormBackwardOp::record, in, out, a);
  for (int i = 0; i < 3; ++i) gin[i] = out[i];
}

// The gradients once more as a composition of public ops, mean and rstd as functions of x, and its own derivative
// taken.
void batch_norm_backward(Node& n, const Tensor* g, Tensor* gin) {
  const auto& a = n.attrs<BatchNormAttrs>();
  Tensor dy = n.input(0), x = n.input(1), weight = n.input(2);
  const bool create_graph = is_grad_enabled();
  std::vector<Tensor> outputs, cotangents, inputs, results;
  std::vector<int> slots;
  {
    EnableGrad guard;
    const Dims others = all_but_channels(x);
    // Leaves of their own unless the history is wanted: the derivative then ends here.
    const auto leaf = [&](Tensor& t, int slot) {
      if (!t.defined() || !n.needs(slot)) return;
      if (!create_graph) t = t.detach().set_requires_grad(true);
      inputs.push_back(t);
      slots.push_back(slot);
    };
    leaf(dy, 0);
    leaf(x, 1);
    leaf(weight, 2);
    Tensor mean, rstd;
    if (a.training) {
      mean = x.mean({.dim = others, .keepdim = true});
      rstd = x.sub(mean).square().mean({.dim = others, .keepdim = true}).add(a.eps).rsqrt();
    } else {
      mean = per_channel(n.input(3), x);
      rstd = per_channel(n.input(4), x);
    }
    const Tensor h = x.sub(mean).mul(rstd);
    const Tensor scale = weight.defined() ? rstd.mul(per_channel(weight, x)) : rstd;
    const auto add = [&](const Tensor& output, const Tensor& cotangent) {
      if (!output.requires_grad()) return;  // e.g. sum dy where only x is differentiated
      outputs.push_back(output);
      cotangents.push_back(cotangent.to(x.dtype()));
    };
    if (g[0].defined()) {
      const ReduceOptions over{.dim = others, .keepdim = true};
      const Tensor centred = a.training ? dy.sub(dy.mean(over)).sub(h.mul(dy.mul(h).mean(over))) : dy;
      add(centred.mul(scale), g[0]);
    }
    if (g[1].defined()) add(dy.mul(h).sum({.dim = others}), g[1]);
    if (g[2].defined()) add(dy.sum({.dim = others}), g[2]);
  }
  if (outputs.empty() || inputs.empty()) return;
  results = grad(outputs, inputs, {.grad_outputs = cotangents, .create_graph = create_graph, .allow_unused = true});
  for (size_t i = 0; i < slots.size(); ++i) gin[slots[i]] = results[i];
}

}  // namespace weft::rules
