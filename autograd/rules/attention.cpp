#include "core/ops/attention.h"

#include <vector>

#include "autograd/autograd.h"
#include "autograd/node.h"

namespace weft::rules {

void attention(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const Tensor in[7] = {g[0],       n.input(0),           n.input(1),          n.input(2),
                        n.input(3), n.output(0).detach(), n.output(1).detach()};
  Tensor out[3];
  for (int i = 0; i < 3; ++i)
    out[i] = weft::detail::allocate_heads(in[1 + i].sizes(), in[1 + i].dtype(), in[1 + i].device());
  dispatch(AttentionBackwardOp::record, in, out, n.attrs<AttentionAttrs>());
  for (int i = 0; i < 3; ++i) gin[i] = out[i];
}

// The gradients once more, from ops that can be differentiated again, and their gradients.
void attention_backward(Node& n, const Tensor* g, Tensor* gin) {
  const bool again = is_grad_enabled();
  EnableGrad enable;
  // Gradient of the output, q, k, v: as views of their own, since one may depend on another and partial derivatives are
  // wanted.
  std::vector<Tensor> values;
  for (int i = 0; i < 4; ++i) {
    const Tensor given = n.input(i);
    values.push_back(given.requires_grad() ? given.expand(given.sizes()) : given.detach().set_requires_grad(true));
  }
  const Tensor y =
      weft::detail::composite_attention(values[1], values[2], values[3], n.input(4), n.attrs<AttentionAttrs>());
  const auto first = grad({y}, {values[1], values[2], values[3]}, {.grad_outputs = {values[0]}, .create_graph = true});
  std::vector<Tensor> outputs, weights;
  for (int i = 0; i < 3; ++i) {
    if (!g[i].defined()) continue;
    outputs.push_back(first[static_cast<size_t>(i)]);
    weights.push_back(g[i]);
  }
  if (outputs.empty()) return;
  const auto second = grad(outputs, values, {.grad_outputs = weights, .create_graph = again, .allow_unused = true});
  for (int i = 0; i < 4; ++i)
    if (n.needs(i)) gin[i] = second[static_cast<size_t>(i)];
}

}  // namespace weft::rules
