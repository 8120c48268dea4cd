// Tape nodes of pointwise ops: the fused gradient kernels, and for create_graph the derivative of those.
#include <new>

#include "autograd/autograd.h"
#include "autograd/node.h"
#include "core/error.h"
#include "core/pointwise.h"
#include "core/thread_state.h"

namespace weft {
namespace {

struct PointwiseAttrs {
  const PointwiseInfo* info;
  int8_t saved_at[4];  ///< of a, b, c, y; -1: not saved
  Scalar params[kMaxParams];
};

// ---- the gradient of a gradient kernel: its text over Tensors, differentiated by the tape itself
struct GradientAttrs {
  const PointwiseInfo* info;
  int which;
  Scalar params[kMaxParams];
};

void gradient_backward(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<GradientAttrs>();
  bool create_graph = is_grad_enabled();
  EnableGrad guard;
  // Each input under a handle of its own, so that an input that appears twice gets its two gradients apart.
  std::vector<Tensor> values(static_cast<size_t>(n.n_saved)), wanted;
  std::vector<int> index;
  for (int k = 0; k < n.n_saved; ++k) {
    Tensor v = n.saved_value(k);
    if (!v.defined()) continue;
    if (n.needs(k)) {
      v = create_graph && v.requires_grad() ? v.view_as(v) : v.detach().set_requires_grad(true);
      wanted.push_back(v);
      index.push_back(k);
    }
    values[static_cast<size_t>(k)] = v;
  }
  Tensor y = a.info->differentiate(a.which, values.data(), a.params);
  if (!y.requires_grad()) return;
  std::vector<Tensor> result = grad(
      {y}, wanted,
      {.grad_outputs = {g[0].to(y.dtype()).expand(y.sizes())}, .create_graph = create_graph, .allow_unused = true});
  for (size_t i = 0; i < result.size(); ++i) gin[index[i]] = result[i];
}
const NodeKind kGradientNode{"pointwise_gradient", &gradient_backward, nullptr};

Tensor gradient(const PointwiseInfo& info, int which, const Tensor* values, const Scalar* params) {
  const int n = info.arity + 2;
  Tensor out;
  {
    NoGrad guard;
    out = detail::pointwise_gradient(info, which, values, params);
  }
  if (!detail::needs_grad(values, n)) return out;
  detail::NodeOwner owner(Node::create(&kGradientNode, nullptr, n, 1, n, sizeof(GradientAttrs)));
  Node* node = owner.get();
  auto* a = new (node->attrs_) GradientAttrs{&info, which, {}};
  for (int k = 0; k < info.params; ++k) a->params[k] = params[k];
  for (int k = 0; k < n; ++k) {
    if (!values[k].defined()) continue;
    node->save(k, values[k], false, 0);
    if (values[k].requires_grad()) node->edges[k] = autograd::gradient_edge(values[k]);
  }
  node->outputs[0] = {out.sizes(), out.dtype(), out.device()};
  detail::adopt_history(out, owner.release(), 0);
  return out;
}

void pointwise_backward(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<PointwiseAttrs>();
  const bool create_graph = is_grad_enabled();
  for (int k = 0; k < a.info->arity; ++k) {
    if (!n.needs(k)) continue;
    if (!create_graph && ((a.info->passes >> k & 1) || ((a.info->scales >> k & 1) && a.params[0].f64() == 1))) {
      gin[k] = g[0];
      continue;
    }
    // g, a, b.., y as the gradient kernel takes them.
    detail::Borrowed<5> values;
    Tensor owned[4];
    values.set(0, g[0]);
    for (int v = 0; v <= a.info->arity; ++v) {
      const int saved = v < a.info->arity ? v : 3;
      if (!(a.info->needs[k] >> saved & 1)) continue;
      const Tensor* held = create_graph ? nullptr : n.saved_handle(a.saved_at[saved]);
      values.set(1 + v, held ? *held : owned[v] = n.saved_value(a.saved_at[saved]));
    }
    gin[k] = create_graph ? gradient(*a.info, k, values, a.params)
                          : detail::pointwise_gradient(*a.info, k, values, a.params);
  }
}

}  // namespace

namespace detail {

void record_pointwise(const PointwiseInfo& op, Tensor& out, const Tensor* in, const Scalar* params, bool inplace) {
  static const NodeKind kPointwiseNode{nullptr, &pointwise_backward, nullptr};
  unsigned needs = 0;
  for (int k = 0; k < op.arity; ++k)
    if (!(op.constants >> k & 1) && in[k].impl()->requires_grad) needs |= op.needs[k];
  NodeOwner owner(
      Node::create(&kPointwiseNode, &op.record, op.arity, 1, __builtin_popcount(needs), sizeof(PointwiseAttrs)));
  Node* n = owner.get();
  auto* a = new (n->attrs_) PointwiseAttrs{&op, {-1, -1, -1, -1}, {}};
  for (int k = 0; k < op.params; ++k) a->params[k] = params[k];
  n->outputs[0] = {out.sizes(), out.dtype(), out.device()};
  int at = 0;
  for (int k = 0; k < op.arity; ++k) {
    if (!(op.constants >> k & 1)) n->edges[k] = autograd::gradient_edge(in[k]);
    if (needs >> k & 1) {
      a->saved_at[k] = static_cast<int8_t>(at);
      n->save(at++, in[k], false, static_cast<uint32_t>(k));
    }
  }
  if (needs & ops::kY) {
    a->saved_at[3] = static_cast<int8_t>(at);
    n->save(at, out, true, 0);
  }
  if (inplace)
    rebase_history(out, n);
  else
    adopt_history(out, owner.release(), 0);
}

}  // namespace detail
}  // namespace weft
