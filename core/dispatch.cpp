#include "core/dispatch.h"

#include <vector>

#include "core/deferral.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/thread_state.h"

namespace weft::detail {

bool needs_grad(const Tensor* in, int n_in) {
  if (!thread_state.grad_mode) return false;
  bool any = false;
  for (int i = 0; i < n_in; ++i) {
    if (!in[i].defined()) continue;
    const TensorImpl* p = in[i].impl();
    // A view whose memory changed gets its new history here, so that it is older than the op about to be recorded.
    if (p->base && p->base->requires_grad) in[i].is_leaf();
    any |= p->requires_grad;
  }
  return any;
}

Device check_same_device(const OpRecord& op, const Tensor* in, int n_in, const Tensor* out, int n_out) {
  if (op.crosses) return out[0].device().is_cuda() ? out[0].device() : in[n_in - 1].device();
  const Tensor* first = nullptr;
  for (int i = 0; i < n_in; ++i) {
    if (!in[i].defined() || (i < 32 && (op.host_inputs >> i & 1))) continue;
    if (!first) first = &in[i];
    WEFT_CHECK(in[i].device() == first->device(),
               "{}: tensors on different devices ({}, {}); move them with .to(device)", op.name, *first, in[i]);
  }
  if (!first)
    for (int i = 0; i < n_out && !first; ++i)
      if (out[i].defined()) first = &out[i];
  return first ? first->device() : Device();
}

namespace {
void run(const OpRecord& op, const Tensor* in, int n_in, Tensor* out, int n_out, const void* attrs,
         size_t attrs_bytes) {
  const Device device = check_same_device(op, in, n_in, out, n_out);
  if (device.is_cuda()) [[unlikely]]
    return run_on_device({op, in, n_in, out, n_out, attrs}, device);
  if (Deferral* deferral = thread_state.deferral) [[unlikely]]
    return deferral->put_off({op, in, n_in, out, n_out, attrs}, attrs_bytes);
  op.cpu({op, in, n_in, out, n_out, attrs});
}

void dispatch_op(const OpRecord& op, const Tensor* in, int n_in, Tensor* out, int n_out, const void* attrs,
                 size_t attrs_bytes) {
  run(op, in, n_in, out, n_out, attrs, attrs_bytes);
  if (op.rule && needs_grad(in, n_in)) {
    Node* node = make_node(op, in, n_in, out, n_out, attrs, attrs_bytes);
    int last = -1;  // this output takes the reference that make_node gave
    for (int i = 0; i < n_out; ++i) {
      if ((op.non_differentiable >> i & 1) || !out[i].defined() || !is_floating(out[i].dtype())) continue;
      if (last >= 0) set_history(out[last], node, static_cast<uint32_t>(last));
      last = i;
    }
    if (last >= 0)
      adopt_history(out[last], node, static_cast<uint32_t>(last));
    else
      release_node(node);
  }
}

void dispatch_inplace_op(const OpRecord& op, Tensor& self, const Tensor* in, int n_in, const void* attrs,
                         size_t attrs_bytes) {
  check_inplace(self, op.name);
  bool record = op.rule && is_floating(self.dtype()) && needs_grad(in, n_in);
  struct Owner {
    Node* node = nullptr;
    ~Owner() {
      if (node) release_node(node);
    }
  } owner;
  Node*& node = owner.node;
  if (record && (op.save_inputs & 1)) {
    // The rule reads the old value of self: keep a copy that carries self's history.
    std::vector<Tensor> inputs(in, in + n_in);
    inputs[0] = self.clone();
    node = make_node(op, inputs.data(), n_in, nullptr, 0, attrs, attrs_bytes);
  } else if (record) {
    node = make_node(op, in, n_in, nullptr, 0, attrs, attrs_bytes);
  }
  run(op, in, n_in, &self, 1, attrs, attrs_bytes);
  self.impl()->storage->bump(op.name);
  if (node) rebase_history(self, node);
}

// Makes `out`, an alias, a view of self; true: gradients are recorded.
bool make_view(Tensor& out, const Tensor& self) {
  TensorImpl* s = self.impl();
  TensorImpl* base = s->base ? s->base : s;
  out.impl()->inference = s->inference;
  out.impl()->view_kind = s->view_kind;
  if (!thread_state.grad_mode) {
    if (base->requires_grad || s->requires_grad) out.impl()->view_kind = ViewKind::no_grad;
    return false;
  }
  base->retain();
  out.impl()->base = base;
  out.impl()->view_version = s->storage->version.load(std::memory_order_relaxed);
  return true;
}

Tensor dispatch_view_op(const OpRecord& op, const Tensor& self, const Dims& sizes, const Dims& strides, int64_t offset,
                        const void* attrs, size_t attrs_bytes) {
  Tensor out = alias(self, sizes, strides, offset);
  if (make_view(out, self) && is_floating(self.dtype()) && needs_grad(&self, 1)) {
    Node* node = make_node(op, &self, 1, &out, 1, attrs, attrs_bytes);
    adopt_history(out, node, 0);
  }
  return out;
}

// Apart, so that the entries below stay a read and a jump.
[[gnu::noinline, gnu::cold]] void profiled(const OpRecord& op, const Tensor* in, int n_in, Tensor* out, int n_out,
                                           const void* attrs, size_t attrs_bytes) {
  const ProfileScope scope(
      {.kind = ProfileKind::op, .name = op.name, .in = in, .n_in = n_in, .out = out, .n_out = n_out});
  dispatch_op(op, in, n_in, out, n_out, attrs, attrs_bytes);
}
[[gnu::noinline, gnu::cold]] void profiled_inplace(const OpRecord& op, Tensor& self, const Tensor* in, int n_in,
                                                   const void* attrs, size_t attrs_bytes) {
  const ProfileScope scope({.kind = ProfileKind::inplace_op, .name = op.name, .in = in, .n_in = n_in});
  dispatch_inplace_op(op, self, in, n_in, attrs, attrs_bytes);
}
[[gnu::noinline, gnu::cold]] Tensor profiled_view(const OpRecord& op, const Tensor& self, const Dims& sizes,
                                                  const Dims& strides, int64_t offset, const void* attrs,
                                                  size_t attrs_bytes) {
  const ProfileScope scope({.kind = ProfileKind::view, .name = op.name, .in = &self, .n_in = 1});
  return dispatch_view_op(op, self, sizes, strides, offset, attrs, attrs_bytes);
}

}  // namespace

void dispatch(const OpRecord& op, const Tensor* in, int n_in, Tensor* out, int n_out, const void* attrs,
              size_t attrs_bytes) {
  if (profiling()) [[unlikely]]
    return profiled(op, in, n_in, out, n_out, attrs, attrs_bytes);
  dispatch_op(op, in, n_in, out, n_out, attrs, attrs_bytes);
}

void dispatch_inplace(const OpRecord& op, Tensor& self, const Tensor* in, int n_in, const void* attrs,
                      size_t attrs_bytes) {
  if (profiling()) [[unlikely]]
    return profiled_inplace(op, self, in, n_in, attrs, attrs_bytes);
  dispatch_inplace_op(op, self, in, n_in, attrs, attrs_bytes);
}

void dispatch_views(const OpRecord& op, const Tensor& self, Tensor* parts, int n, const void* attrs,
                    size_t attrs_bytes) {
  const ProfileScope scope({.kind = ProfileKind::view, .name = op.name, .in = &self, .n_in = 1});
  for (int i = 0; i < n; ++i)
    if (make_view(parts[i], self)) parts[i].impl()->view_kind = ViewKind::one_of_many;
  if (n == 0 || !is_floating(self.dtype()) || !needs_grad(&self, 1)) return;
  WEFT_ASSERT(n <= kMostParts, "{}: {} parts with one history", op.name, n);
  Node* node = make_node(op, &self, 1, parts, n, attrs, attrs_bytes);
  for (int i = 1; i < n; ++i) set_history(parts[i], node, static_cast<uint32_t>(i));
  adopt_history(parts[0], node, 0);
}

Tensor dispatch_view(const OpRecord& op, const Tensor& self, const Dims& sizes, const Dims& strides, int64_t offset,
                     const void* attrs, size_t attrs_bytes) {
  if (profiling()) [[unlikely]]
    return profiled_view(op, self, sizes, strides, offset, attrs, attrs_bytes);
  return dispatch_view_op(op, self, sizes, strides, offset, attrs, attrs_bytes);
}

}  // namespace weft::detail
