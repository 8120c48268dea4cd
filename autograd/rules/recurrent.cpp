#include "core/ops/recurrent.h"

#include <vector>

#include "autograd/autograd.h"
#include "autograd/node.h"
#include "core/ops/matmul.h"
#include "core/ops/reduce.h"
#include "core/thread_state.h"

namespace weft::rules {
namespace {

// a^T b. A product packs its left operand across rows, which costs more than to turn the result round: the narrow one
// is the left one.
Tensor transposed_product(const Tensor& a, const Tensor& b) {
  return a.size(1) > b.size(1) ? mm(b.t(), a).t().contiguous() : mm(a.t(), b);
}

// With the gradients p, q of W_ih x and W_hh h of all steps: gx = p W_ih, gW_ih = p^T x, gW_hh = q^T h, one product
// each for the whole sequence.
void fused(Node& n, const Tensor* g, Tensor* gin) {
  const auto& a = n.attrs<RecurrentAttrs>();
  const Tensor x = n.input(0), w_ih = n.input(3), w_hr = n.input(7), gates = n.output(3), kept = n.output(4);
  const Tensor in[11] = {g[0], g[1],       g[2],        n.input(1), n.input(2), n.input(4),
                         w_hr, n.input(8), n.output(0), gates,      kept};
  const bool lstm = a.kind == Recurrence::lstm, gru = a.kind == Recurrence::gru;
  auto make = [&](bool wanted, int64_t rows, int64_t columns) {
    return wanted ? detail::allocate({rows, columns}, gates.dtype(), gates.device()) : Tensor();
  };
  Tensor out[7] = {make(true, a.rows, gates.size(1)),    make(gru, a.rows, gates.size(1)),
                   make(true, a.batch, a.state),         make(lstm, a.batch, a.hidden),
                   make(true, a.rows, a.state),          make(w_hr.defined(), a.rows, a.hidden),
                   make(w_hr.defined(), a.rows, a.state)};
  dispatch(RecurrentBackwardOp::record, in, out, a);
  const Tensor p = out[0], q = gru ? out[1] : p;
  auto wide = [&](const Tensor& t) { return t.to(gates.dtype()); };
  if (n.needs(0)) gin[0] = mm(p, wide(w_ih));
  gin[1] = out[2];
  gin[2] = out[3];
  if (n.needs(3)) gin[3] = transposed_product(p, wide(x));
  if (n.needs(4)) gin[4] = transposed_product(q, out[4]);
  if (n.needs(5)) gin[5] = p.sum({.dim = 0});
  if (n.needs(6)) gin[6] = !gru && n.needs(5) ? gin[5] : q.sum({.dim = 0});
  if (n.needs(7)) gin[7] = transposed_product(out[6], out[5]);
}

// Through the same forward in public ops.
void differentiable(Node& n, const Tensor* g, Tensor* gin) {
  const auto& a = n.attrs<RecurrentAttrs>();
  constexpr int kInputs = 8;
  Tensor in[kInputs];
  std::vector<Tensor> wanted;
  for (int i = 0; i < kInputs; ++i) {
    in[i] = n.input(i);
    if (!n.needs(i)) continue;
    in[i] = in[i].expand(in[i].sizes());  // a view of its own: partial derivatives, where one input depends on another
    wanted.push_back(in[i]);
  }
  const RecurrentResult r = detail::composite_recurrent_layer(a.kind, in[0], n.input(8), in[1], in[2],
                                                              {in[3], in[4], in[5], in[6], in[7]}, a.reverse);
  std::vector<Tensor> outputs, weights;
  const Tensor results[3] = {r.output, r.h, r.c};
  for (int i = 0; i < 3; ++i)
    if (g[i].defined()) {
      outputs.push_back(results[i]);
      weights.push_back(g[i]);
    }
  const auto gradients = grad(outputs, wanted, {.grad_outputs = weights, .create_graph = true, .allow_unused = true});
  for (int i = 0, at = 0; i < kInputs; ++i)
    if (n.needs(i)) gin[i] = gradients[static_cast<size_t>(at++)];
}

}  // namespace

void recurrent(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined() && !g[1].defined() && !g[2].defined()) return;
  if (is_grad_enabled())
    differentiable(n, g, gin);
  else
    fused(n, g, gin);
}

}  // namespace weft::rules
