// The autograd side of Tensor: flags, gradients, hooks, views and in-place changes.
#include <algorithm>
#include <memory>
#include <new>

#include "autograd/autograd.h"
#include "autograd/meta.h"
#include "autograd/node.h"
#include "core/error.h"
#include "core/thread_state.h"

namespace weft {
namespace {

std::atomic<int64_t> next_hook_id{1};

struct ViewGeometry {
  Dims base_sizes, base_strides;
  int64_t base_offset;
  Dims sizes, strides;
  int64_t offset;
};

ViewGeometry geometry(const TensorImpl* base, const TensorImpl* view) {
  return {base->sizes, base->strides, base->offset, view->sizes, view->strides, view->offset};
}

// Gradient of a view by its base: zeros with the gradient at the view's place.
void view_backward(Node& n, const Tensor* g, Tensor* gin) {
  if (!n.needs(0) || !g[0].defined()) return;
  const auto& v = n.attrs<ViewGeometry>();
  Tensor base = empty_strided(v.base_sizes, v.base_strides, {.dtype = g[0].dtype(), .device = g[0].device()});
  base.zero_();
  base.as_strided(v.sizes, v.strides, v.offset - v.base_offset).copy_(g[0]);
  gin[0] = base;
}
const NodeKind kViewOfChanged{"as_strided", &view_backward, nullptr};

// An op that changed a view in place, as an op on the base: inside the view the op's own rule, outside the identity.
struct CopySlices {
  ViewGeometry view;
  Node* inner;
};
void copy_slices_backward(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& c = n.attrs<CopySlices>();
  Tensor base = empty_strided(c.view.base_sizes, c.view.base_strides, {.dtype = g[0].dtype(), .device = g[0].device()});
  base.copy_(g[0]);
  Tensor slice = base.as_strided(c.view.sizes, c.view.strides, c.view.offset - c.view.base_offset);
  Tensor inside = slice.clone(MemoryFormat::contiguous);
  std::vector<Tensor> result(c.inner->n_edges);
  c.inner->kind->apply(*c.inner, &inside, result.data());
  for (int i = 1; i < n.n_edges && i < c.inner->n_edges; ++i) gin[i] = result[static_cast<size_t>(i)];
  if (!result.empty() && result[0].defined())
    slice.copy_(result[0]);
  else
    slice.zero_();
  gin[0] = base;
}
void copy_slices_destroy(Node& n) { detail::release_node(n.attrs<CopySlices>().inner); }
void copy_slices_release(Node& n) { n.attrs<CopySlices>().inner->release_saved(); }
const NodeKind kCopySlices{"copy_slices", &copy_slices_backward, &copy_slices_destroy, &copy_slices_release};

}  // namespace

namespace autograd {

Node* grad_fn(const Tensor& t) {
  TensorImpl* p = t.impl();
  if (!p) [[unlikely]]
    detail::no_tensor();
  if (p->base && p->base->requires_grad) {
    uint32_t now = p->storage->version.load(std::memory_order_relaxed);
    if (now != p->view_version && (p->base->grad_fn || p->grad_fn)) {
      // The memory was changed in place since: the value of this view now comes from the base as it is.
      p->base->retain();
      Tensor base = Tensor::from_impl(p->base);
      Node* n = Node::create(&kViewOfChanged, nullptr, 1, 1, 0, sizeof(ViewGeometry));
      new (n->attrs_) ViewGeometry(geometry(p->base, p));
      n->outputs[0] = {p->sizes, p->dtype, p->storage->device};
      n->edges[0] = gradient_edge(base);
      Tensor self = t;
      detail::set_history(self, n, 0);
      detail::release_node(n);
    }
    p->view_version = now;
  }
  return p->grad_fn;
}

}  // namespace autograd

namespace detail {

void check_inplace(const Tensor& self, const char* op) {
  WEFT_CHECK(self.defined(), "{}_: self is an undefined tensor", op);
  const TensorImpl* p = self.impl();
  WEFT_CHECK(!overlaps_itself(p->sizes, p->strides),
             "{}_: several elements of self {} share one address (expanded); clone() it first", op, self);
  WEFT_CHECK(!p->inference || is_inference_mode_enabled(),
             "{}_: a tensor made under InferenceMode cannot be changed in place outside of it; clone() it first", op);
  if (!is_grad_enabled()) return;
  WEFT_CHECK(p->view_kind != ViewKind::no_grad,
             "{}_: self is a view made under NoGrad of a tensor that requires grad; make the view where gradients are "
             "recorded, or change it under NoGrad",
             op);
  WEFT_CHECK(p->view_kind != ViewKind::one_of_many || !p->requires_grad,
             "{}_: self is one of several views that split, chunk or unbind returned; use the out-of-place form", op);
  WEFT_CHECK(!(p->requires_grad && !p->grad_fn),
             "{}_: a leaf that requires grad cannot be changed in place; do it under NoGrad", op);
  if (p->base && p->base->requires_grad)
    WEFT_CHECK(p->base->grad_fn,
               "{}_: a view of a leaf that requires grad cannot be changed in place; do it under NoGrad", op);
}

void rebase_history(Tensor& self, Node* node) {
  TensorImpl* p = self.impl();
  if (!p->base) {
    set_history(self, node, 0);
    return;
  }
  p->base->retain();
  Tensor base = Tensor::from_impl(p->base);
  Node* n = Node::create(&kCopySlices, nullptr, std::max<int>(node->n_edges, 1), 1, 0, sizeof(CopySlices));
  node->retain();
  new (n->attrs_) CopySlices{geometry(p->base, p), node};
  n->outputs[0] = {base.sizes(), base.dtype(), base.device()};
  // The base as it was before this op; a base without history so far gives no edge.
  n->edges[0] = p->base->grad_fn ? (p->base->grad_fn->retain(), Edge{p->base->grad_fn, p->base->output_nr}) : Edge{};
  for (int i = 1; i < node->n_edges; ++i)
    if (node->edges[i].node) {
      node->edges[i].node->retain();
      n->edges[i] = node->edges[i];
    }
  set_history(base, n, 0);
  release_node(n);
  p->requires_grad = true;
  p->view_version = p->storage->version.load(std::memory_order_relaxed) - 1;  // grad_fn() makes it anew
  autograd::grad_fn(self);
}

}  // namespace detail

bool Tensor::requires_grad() const {
  if (impl_->requires_grad) return true;
  // A view of a base that got history through another in-place op.
  return impl_->base && impl_->base->requires_grad && impl_->base->grad_fn && autograd::grad_fn(*this) != nullptr;
}

Tensor& Tensor::set_requires_grad(bool on) {
  WEFT_CHECK(on || !impl_->grad_fn, "set_requires_grad(false): only leaves can stop requiring grad; use detach()");
  WEFT_CHECK_TYPE(!on || is_floating(dtype()),
                  "set_requires_grad: only floating tensors have gradients, this one is {}", dtype());
  WEFT_CHECK(!on || !impl_->inference || is_inference_mode_enabled(),
             "set_requires_grad: a tensor made under InferenceMode cannot require grad; clone() it first");
  if (!impl_->grad_fn) impl_->requires_grad = on && !impl_->inference;
  return *this;
}
bool Tensor::is_leaf() const { return autograd::grad_fn(*this) == nullptr; }
Tensor Tensor::grad() const { return impl_->meta ? impl_->meta->grad : Tensor(); }
void Tensor::set_grad(const Tensor& g) {
  WEFT_CHECK(!g.defined() || (g.sizes() == sizes() && g.dtype() == dtype() && g.device() == device()),
             "set_grad: {} as gradient of {}; shape, dtype and device must be equal", g, *this);
  if (g.defined() || impl_->meta) autograd::meta(*this).grad = g;
}

Tensor Tensor::detach() const {
  Tensor t = detail::alias(*this);
  t.impl()->inference = impl_->inference;
  return t;
}
Tensor& Tensor::detach_() {
  WEFT_CHECK(!impl_->base, "detach_: a view cannot be detached in place; use detach()");
  if (impl_->grad_fn) detail::release_node(impl_->grad_fn);
  impl_->grad_fn = nullptr;
  impl_->requires_grad = false;
  return *this;
}

void Tensor::retain_grad() const {
  Node* n = autograd::grad_fn(*this);
  WEFT_CHECK(requires_grad(), "retain_grad: the tensor does not require grad");
  if (!n || autograd::meta(*this).retains_grad) return;
  autograd::meta(*this).retains_grad = true;
  // Kept alive by the hook, not by the node: node and output would own each other.
  n->more().retain.push_back({impl_->output_nr, impl_});
}

int64_t Tensor::register_hook(std::function<Tensor(const Tensor&)> hook) const {
  WEFT_CHECK(requires_grad(), "register_hook: the tensor does not require grad");
  int64_t id = next_hook_id.fetch_add(1);
  if (Node* n = autograd::grad_fn(*this))
    n->more().hooks.push_back({id, impl_->output_nr, std::move(hook)});
  else
    autograd::meta(*this).hooks.push_back({id, std::move(hook)});
  return id;
}
int64_t Tensor::register_post_accumulate_grad_hook(std::function<void(const Tensor&)> hook) const {
  WEFT_CHECK(requires_grad() && is_leaf(), "register_post_accumulate_grad_hook: needs a leaf that requires grad");
  int64_t id = next_hook_id.fetch_add(1);
  autograd::meta(*this).post_accumulate.push_back({id, std::move(hook)});
  return id;
}
void Tensor::remove_hook(int64_t id) const {
  auto is_it = [id](const auto& h) { return h.id == id; };
  if (impl_->grad_fn && impl_->grad_fn->extra) std::erase_if(impl_->grad_fn->extra->hooks, is_it);
  if (!impl_->meta) return;
  std::erase_if(impl_->meta->hooks, is_it);
  std::erase_if(impl_->meta->post_accumulate, is_it);
}
std::string Tensor::grad_fn_name() const {
  Node* n = autograd::grad_fn(*this);
  return n ? n->name() : "leaf";
}

namespace {
thread_local std::vector<autograd::SavedHooks> saved_hooks;
}
const autograd::SavedHooks* autograd::current_saved_hooks() {
  return saved_hooks.empty() ? nullptr : &saved_hooks.back();
}
SavedTensorHooks::SavedTensorHooks(PackFn pack, Unpack unpack) {
  saved_hooks.push_back({std::move(pack), std::move(unpack)});
  ++detail::thread_state.saved_hooks;
}
SavedTensorHooks::~SavedTensorHooks() {
  saved_hooks.pop_back();
  --detail::thread_state.saved_hooks;
}

}  // namespace weft
