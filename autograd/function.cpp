#include "autograd/function.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "core/error.h"

namespace weft {
namespace {

struct FunctionAttrs {
  Context* context;
  FunctionCall::Backward backward;
};

int place_of(const Tensor& t, const std::vector<Tensor>& list) {
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].defined() && list[i].is_same(t)) return static_cast<int>(i);
  return -1;
}

bool broadcasts(const Dims& from, const Dims& to) {
  int extra = to.size() - from.size();
  if (extra < 0) return false;
  for (int i = 0; i < from.size(); ++i)
    if (from[i] != to[i + extra] && from[i] != 1) return false;
  return true;
}

}  // namespace

std::vector<Tensor> Context::saved() const {
  WEFT_CHECK(node_ != nullptr, "saved: only backward can read what forward saved");
  std::vector<Tensor> out;
  for (int i = 0; i < node_->n_saved; ++i) out.push_back(node_->saved_value(i));
  return out;
}

const char* FunctionCall::readable_name(const std::type_info& type) {
  int status = 0;
  char* name =
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);  // lives as long as the program: one per type
  return status == 0 ? name : type.name();
}

void FunctionCall::prepare() {
  for (const Tensor& t : inputs) context->needs_.push_back(is_grad_enabled() && t.defined() && t.requires_grad());
}

void FunctionCall::finish(std::vector<Tensor>& outputs) {
  Context& c = *context;
  for (size_t i = 0; i < outputs.size(); ++i)
    WEFT_CHECK(outputs[i].defined(), "{}: forward returned an undefined tensor as output {}", kind.name, i);
  for (const Tensor& t : c.dirty_) {
    WEFT_CHECK(place_of(t, inputs) >= 0, "{}: mark_dirty takes inputs of forward", kind.name);
    WEFT_CHECK(place_of(t, outputs) >= 0, "{}: an input marked dirty must be returned by forward", kind.name);
    detail::check_inplace(t, kind.name);
    WEFT_CHECK(!t.impl()->base || outputs.size() == 1, "{}: a view marked dirty must be the only output", kind.name);
  }
  // An input returned as it is, or a tensor with a history of its own: another handle of the same memory.
  for (Tensor& out : outputs)
    if (place_of(out, c.dirty_) < 0 && (place_of(out, inputs) >= 0 || out.requires_grad())) out = detail::alias(out);
  if (std::find(c.needs_.begin(), c.needs_.end(), true) == c.needs_.end()) {
    c.to_save_.clear();
    return;
  }
  Node* n = Node::create(&kind, nullptr, static_cast<int>(inputs.size()), static_cast<int>(outputs.size()),
                         static_cast<int>(c.to_save_.size()), sizeof(FunctionAttrs));
  new (n->attrs_) FunctionAttrs{context, backward};
  c.node_ = n;
  context = nullptr;  // the node's now
  detail::NodeOwner owner(n);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (c.needs_[i]) n->edges[i] = autograd::gradient_edge(inputs[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    n->outputs[i] = {outputs[i].sizes(), outputs[i].dtype(), outputs[i].device()};
  for (size_t i = 0; i < c.to_save_.size(); ++i) {
    const Tensor& t = c.to_save_[i];
    if (!t.defined()) continue;
    int out = place_of(t, outputs);
    n->save(static_cast<int>(i), t, out >= 0, static_cast<uint32_t>(std::max(out, 0)));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!is_floating(outputs[i].dtype()) || place_of(outputs[i], c.non_differentiable_) >= 0) continue;
    if (place_of(outputs[i], c.dirty_) >= 0 && outputs[i].impl()->base)
      detail::rebase_history(outputs[i], n);
    else
      detail::set_history(outputs[i], n, static_cast<uint32_t>(i));
  }
  c.to_save_.clear();
  c.dirty_.clear();
  c.non_differentiable_.clear();
  inputs.clear();
}

void FunctionCall::run_backward(Node& n, const Tensor* g, Tensor* gin) {
  const auto& a = n.attrs<FunctionAttrs>();
  std::vector<Tensor> gradients(g, g + n.n_outputs);
  if (a.context->materialize_)
    for (uint32_t i = 0; i < n.n_outputs; ++i)
      if (!gradients[i].defined())
        gradients[i] = zeros(n.outputs[i].sizes, {.dtype = n.outputs[i].dtype, .device = n.outputs[i].device});
  std::vector<Tensor> result = a.backward(*a.context, gradients);
  WEFT_CHECK(
      result.size() == n.n_edges,
      "{}: backward returned {} gradients, forward took {} arguments; return an undefined Tensor where there is none",
      n.name(), result.size(), n.n_edges);
  for (int i = 0; i < n.n_edges; ++i) {
    Tensor& r = result[static_cast<size_t>(i)];
    if (!r.defined() || !n.needs(i)) continue;
    const Dims& sizes = n.edges[i].node->outputs[n.edges[i].nr].sizes;
    WEFT_CHECK(broadcasts(sizes, r.sizes()),
               "{}: backward returned a gradient {} for argument {} of shape {}; the shapes must be equal", n.name(), r,
               i, sizes);
    gin[i] = std::move(r);
  }
}

void FunctionCall::destroy(Node& n) { delete n.attrs<FunctionAttrs>().context; }

}  // namespace weft
