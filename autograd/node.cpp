#include "autograd/node.h"

#include <execinfo.h>

#include <cstring>
#include <mutex>
#include <new>
#include <thread>

#include "autograd/autograd.h"
#include "autograd/backward_state.h"
#include "autograd/meta.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/thread_state.h"

namespace weft {

struct PackedTensor {
  SavedTensorHooks::Pack packed;
  SavedTensorHooks::Unpack unpack;
};

NodeExtra::NodeExtra() = default;
NodeExtra::~NodeExtra() {
  for (auto& [index, edge] : saved_history) detail::release_node(edge.node);
}

namespace {

// Ops take even numbers, accumulators the odd ones below.
std::atomic<uint64_t> next_sequence{2};
thread_local uint64_t newest_sequence = 2;  ///< of this thread's nodes

thread_local std::vector<Node*>* trash = nullptr;

void destroy_node(Node* n) {
  if (n->kind->destroy) n->kind->destroy(*n);
  for (int i = 0; i < n->n_edges; ++i)
    if (n->edges[i].node) detail::release_node(n->edges[i].node);
  for (int i = 0; i < n->n_saved; ++i) n->saved[i].~Saved();
  delete n->extra;
  uint32_t bytes = n->bytes;
  n->~Node();
  detail::slab_free(n, bytes);
}

// A turn is a few instructions, and one locked instruction is all it costs where nobody waits: half of a mutex.
class SpinLock {
 public:
  void lock() {
    while (taken_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};
SpinLock accumulator_mutex;

const OpRecord kAccumulate{.name = "accumulate_grad"};

void destroy_accumulator(Node& n) {
  Tensor& leaf = n.attrs<Tensor>();
  {
    std::lock_guard lock(accumulator_mutex);
    AutogradMeta* m = leaf.impl()->meta;
    if (m && m->accumulator == &n) m->accumulator = nullptr;
  }
  leaf.~Tensor();
}

const NodeKind kAccumulator{"accumulate_grad", &autograd::accumulate_grad, &destroy_accumulator};

Node* accumulator(const Tensor& leaf) {
  std::lock_guard lock(accumulator_mutex);
  AutogradMeta& m = autograd::meta(leaf);
  if (m.accumulator && m.accumulator->refs.add_if_alive()) return m.accumulator;
  const uint64_t newest = newest_sequence;
  Node* n = Node::create(&kAccumulator, &kAccumulate, 0, 1, 0, sizeof(Tensor));
  n->sequence = newest - 1;  // below its first consumer, the node being recorded, and so below all of them
  new (n->attrs_) Tensor(leaf);
  newest_sequence = newest;
  n->outputs[0] = {leaf.sizes(), leaf.dtype(), leaf.device()};
  m.accumulator = n;
  return n;
}

void apply_rule(Node& n, const Tensor* g, Tensor* gin) { n.op->rule(n, g, gin); }
const NodeKind kRuleNode{nullptr, &apply_rule, nullptr};

}  // namespace

Node* Node::create(const NodeKind* kind, const OpRecord* op, int n_edges, int n_outputs, int n_saved,
                   size_t attrs_bytes) {
  auto up = [](size_t x) { return (x + 15) & ~size_t{15}; };
  size_t edges_at = up(sizeof(Node)), outputs_at = edges_at + up(sizeof(Edge) * static_cast<size_t>(n_edges));
  size_t saved_at = outputs_at + up(sizeof(OutputMeta) * static_cast<size_t>(n_outputs));
  size_t attrs_at = saved_at + up(sizeof(Saved) * static_cast<size_t>(n_saved)), bytes = attrs_at + attrs_bytes;
  char* p = static_cast<char*>(detail::slab_allocate(bytes));
  Node* n = new (p) Node;
  n->bytes = static_cast<uint32_t>(bytes);
  n->kind = kind;
  n->op = op;
  n->n_edges = static_cast<uint16_t>(n_edges);
  n->n_outputs = static_cast<uint16_t>(n_outputs);
  n->n_saved = static_cast<uint16_t>(n_saved);
  newest_sequence = n->sequence = next_sequence.fetch_add(2, std::memory_order_relaxed);
  n->edges = reinterpret_cast<Edge*>(p + edges_at);
  n->outputs = reinterpret_cast<OutputMeta*>(p + outputs_at);
  n->saved = reinterpret_cast<Saved*>(p + saved_at);
  n->attrs_ = p + attrs_at;
  for (int i = 0; i < n_edges; ++i) new (&n->edges[i]) Edge;
  for (int i = 0; i < n_outputs; ++i) new (&n->outputs[i]) OutputMeta;
  for (int i = 0; i < n_saved; ++i) new (&n->saved[i]) Saved;
  if (detail::profiling()) [[unlikely]]
    if (const auto* hooks = detail::profile_hooks.load(std::memory_order_acquire)) hooks->node(n->sequence);
  if (detail::thread_state.anomaly) [[unlikely]] {
    void* frames[64];
    int depth = backtrace(frames, 64);
    n->more().trace.assign(frames, frames + depth);
  }
  return n;
}

void Node::save(int index, const Tensor& value, bool is_output, uint32_t nr) {
  if (!value.defined()) return;
  WEFT_CHECK(!value.impl()->inference,
             "{}: a tensor made under InferenceMode cannot be saved for backward; clone() it outside of InferenceMode",
             name());
  Saved& s = saved[index];
  s.is_output = is_output;
  s.nr = nr;
  if (detail::thread_state.saved_hooks > 0) [[unlikely]] {
    if (const auto* hooks = autograd::current_saved_hooks()) {
      auto packed = std::make_unique<PackedTensor>();
      NoGrad guard;
      const autograd::SavingOp saving(this->name());
      packed->packed = hooks->pack(value.detach());
      packed->unpack = hooks->unpack;
      auto& list = more().packed;
      if (list.size() <= static_cast<size_t>(index)) list.resize(static_cast<size_t>(index) + 1);
      list[static_cast<size_t>(index)] = std::move(packed);
      if (!is_output) {
        Edge e = autograd::gradient_edge(value);
        if (e.node) more().saved_history.push_back({static_cast<uint32_t>(index), e});
      }
      return;
    }
  }
  s.version = value.version();
  if (is_output)
    s.tensor = detail::alias(value);
  else
    s.tensor = value;
}

const Tensor* Node::saved_handle(int index) const {
  WEFT_CHECK(
      !released,
      "backward: the saved values of {} were freed by an earlier backward; pass .retain_graph = true to that one",
      name());
  if (extra && static_cast<size_t>(index) < extra->packed.size() && extra->packed[static_cast<size_t>(index)])
    return nullptr;
  const Saved& s = saved[index];
  WEFT_CHECK(!s.tensor.defined() || s.tensor.version() == s.version,
             "backward: {} needs a tensor {} as it was, but {} has changed it in place since (version {}, saved at "
             "{}); use the out-of-place form or clone() it "
             "before",
             name(), s.tensor,
             s.tensor.impl()->storage->last_writer ? s.tensor.impl()->storage->last_writer : "an in-place op",
             s.tensor.version(), s.version);
  return &s.tensor;
}

Tensor Node::saved_value(int index) const {
  const Tensor* held = saved_handle(index);
  const Saved& s = saved[index];
  if (!held) {
    const PackedTensor& p = *extra->packed[static_cast<size_t>(index)];
    Tensor value = p.unpack(p.packed);
    if (s.is_output) {
      value = detail::alias(value);
      detail::set_history(value, const_cast<Node*>(this), s.nr);
    } else {
      for (const auto& [i, edge] : extra->saved_history)
        if (i == static_cast<uint32_t>(index)) {
          value = detail::alias(value);
          detail::set_history(value, edge.node, edge.nr);
        }
    }
    return value;
  }
  if (s.is_output && s.tensor.defined() && is_grad_enabled()) {
    Tensor value = detail::alias(s.tensor);
    detail::set_history(value, const_cast<Node*>(this), s.nr);
    return value;
  }
  return s.tensor;
}

// Saved values lie in order: inputs by rising bit, then outputs.
Tensor Node::input(int i) const {
  unsigned below = op->save_inputs & ((1u << i) - 1);
  return saved_value(__builtin_popcount(below));
}
Tensor Node::output(int i) const {
  unsigned below = op->save_outputs & ((1u << i) - 1);
  return saved_value(__builtin_popcount(op->save_inputs) + __builtin_popcount(below));
}

void Node::release_saved() {
  if (kind->release) kind->release(*this);
  for (int i = 0; i < n_saved; ++i) saved[i].tensor = Tensor();
  if (extra) extra->packed.clear();
  if (n_saved > 0) released = true;
}

namespace detail {

void release_node(Node* n) noexcept {
  // An accumulator is also reached through its leaf, which does not own it: its count may rise from 1 at any time.
  if (!(n->kind == &kAccumulator ? n->refs.drop() : n->refs.drop_last())) return;
  if (trash) {  // further down in the same chain: destroy it from the loop below, not recursively
    trash->push_back(n);
    return;
  }
  std::vector<Node*> list;
  trash = &list;
  destroy_node(n);
  while (!list.empty()) {
    Node* next = list.back();
    list.pop_back();
    destroy_node(next);
  }
  trash = nullptr;
}

void destroy_meta(TensorImpl* p) noexcept {
  if (p->meta->retains_grad && p->grad_fn && p->grad_fn->extra)
    std::erase_if(p->grad_fn->extra->retain, [p](const auto& r) { return r.second == p; });
  delete p->meta;
}

void set_history(Tensor& out, Node* node, uint32_t nr) {
  node->retain();
  adopt_history(out, node, nr);
}

void adopt_history(Tensor& out, Node* node, uint32_t nr) {
  TensorImpl* p = out.impl();
  if (Node* old = p->grad_fn) {
    if (p->meta && p->meta->retains_grad && old->extra) {  // the gradient kept is that of the newest value
      std::erase_if(old->extra->retain, [p](const auto& r) { return r.second == p; });
      node->more().retain.push_back({nr, p});
    }
    release_node(old);
  }
  p->grad_fn = node;
  p->output_nr = nr;
  p->requires_grad = true;
  p->view_version = p->storage->version.load(std::memory_order_relaxed);
}

Node* make_node(const OpRecord& op, const Tensor* in, int n_in, const Tensor* out, int n_out, const void* attrs,
                size_t attrs_bytes) {
  int n_saved = __builtin_popcount(op.save_inputs) + __builtin_popcount(op.save_outputs);
  bool inplace = out == nullptr;
  NodeOwner owner(Node::create(&kRuleNode, &op, n_in, inplace ? 1 : n_out, n_saved, attrs_bytes));
  Node* n = owner.get();
  for (int i = 0; i < n_in; ++i)
    if (in[i].defined() && in[i].impl()->requires_grad) n->edges[i] = autograd::gradient_edge(in[i]);
  int at = 0;
  for (int i = 0; i < n_in && i < 32; ++i)
    if (op.save_inputs >> i & 1) n->save(at++, in[i], false, static_cast<uint32_t>(i));
  at = __builtin_popcount(op.save_inputs);
  for (int i = 0; i < n_out; ++i) {
    if (op.save_outputs >> i & 1) n->save(at++, out[i], true, static_cast<uint32_t>(i));
    if (out[i].defined()) n->outputs[i] = {out[i].sizes(), out[i].dtype(), out[i].device()};
  }
  if (inplace) n->outputs[0] = {in[0].sizes(), in[0].dtype(), in[0].device()};
  if (attrs_bytes) std::memcpy(n->attrs_, attrs, attrs_bytes);
  return owner.release();
}

}  // namespace detail

namespace autograd {

namespace {
thread_local const char* saving_op = nullptr;
}
const char* op_being_saved() { return saving_op; }
SavingOp::SavingOp(const char* name) : before_(saving_op) { saving_op = name; }
SavingOp::~SavingOp() { saving_op = before_; }

AutogradMeta& meta(const Tensor& t) {
  TensorImpl* p = t.impl();
  if (!p->meta) p->meta = new AutogradMeta;
  return *p->meta;
}

Edge gradient_edge(const Tensor& t) {
  TensorImpl* p = t.impl();
  if (!p->requires_grad && !p->base) return {};
  if (Node* n = grad_fn(t)) {
    n->retain();
    return {n, p->output_nr};
  }
  if (!p->requires_grad) return {};
  return {accumulator(t), 0};
}

}  // namespace autograd
}  // namespace weft
