#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "autograd/autograd.h"
#include "autograd/backward_state.h"
#include "autograd/meta.h"
#include "autograd/node.h"
#include "core/autocast.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/thread_state.h"

namespace weft {
namespace detail {
namespace {
struct GradModeRestore {
  const bool before = thread_state.grad_mode;
  explicit GradModeRestore(bool now) { thread_state.grad_mode = now; }
  ~GradModeRestore() { thread_state.grad_mode = before; }
};
}  // namespace
}  // namespace detail

namespace {

/// Nodes and a flag each; open addressing, since std::unordered_map cost more than small gradients themselves.
class NodeFlags {
 public:
  bool contains(const Node* n) const { return !table_.empty() && find(n).node; }
  /// False for nodes that are not in it.
  bool get(const Node* n) const { return !table_.empty() && find(n).on; }
  void set(const Node* n, bool on) {
    if (2 * (count_ + 1) > table_.size()) grow();
    Entry& e = const_cast<Entry&>(find(n));
    count_ += e.node == nullptr;
    e = {n, on};
  }

 private:
  struct Entry {
    const Node* node = nullptr;
    bool on = false;
  };
  const Entry& find(const Node* n) const {
    const size_t mask = table_.size() - 1;
    size_t i = (reinterpret_cast<uintptr_t>(n) / 64 * 0x9E3779B97F4A7C15ull >> 20) & mask;
    while (table_[i].node && table_[i].node != n) i = (i + 1) & mask;
    return table_[i];
  }
  void grow() {
    std::vector<Entry> old(table_.empty() ? 64 : 2 * table_.size());
    old.swap(table_);
    for (const Entry& e : old)
      if (e.node) const_cast<Entry&>(find(e.node)) = e;
  }
  std::vector<Entry> table_;  ///< a power of two, at most half full
  size_t count_ = 0;
};

}  // namespace

/// One run of backward. Nodes run by falling sequence number: a consumer is always younger than what it consumes, so
/// that when a node's turn comes all its gradients have arrived.
struct Task {
  struct Slot {
    Node* node;
    uint32_t first;  ///< of its gradients in `gradients`
  };
  struct Capture {
    Edge edge;
    Tensor value;
  };

  bool create_graph = false;
  bool retain_graph = false;
  std::vector<Slot> slots;
  std::vector<Tensor> gradients;
  std::vector<Node*> heap;
  std::vector<Capture> captures;                   ///< of grad(); empty: accumulate into leaves
  NodeFlags leads;                                 ///< of grad(): nodes on a path to a capture
  std::unordered_map<const Node*, int32_t> other;  ///< slots of nodes that another running task owns
  std::vector<Edge> roots;                         ///< owned; through their edges they keep every node of the run alive
  bool scaled = false;                             ///< gradients carry the scale of a GradScaler
  std::vector<std::function<void()>> at_end;

  static thread_local Task* current;  ///< the innermost of this thread that runs
  Task* const outer = current;

  Task() { current = this; }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() {
    current = outer;
    for (const auto& f : at_end) f();
    for (Slot& s : slots)
      if (s.node->owner.load(std::memory_order_relaxed) == this)
        s.node->owner.store(nullptr, std::memory_order_release);
    for (Edge& e : roots) detail::release_node(e.node);
  }

  static bool older(const Node* a, const Node* b) { return a->sequence < b->sequence; }

  int32_t slot_of(Node* n) {
    if (n->owner.load(std::memory_order_acquire) == this) return n->slot;
    if (!other.empty())
      if (auto it = other.find(n); it != other.end()) return it->second;
    int32_t index = static_cast<int32_t>(slots.size());
    slots.push_back({n, static_cast<uint32_t>(gradients.size())});
    gradients.resize(gradients.size() + n->n_outputs);
    Task* free = nullptr;
    if (n->owner.compare_exchange_strong(free, this))
      n->slot = index;
    else
      other.emplace(n, index);
    heap.push_back(n);
    std::push_heap(heap.begin(), heap.end(), older);
    return index;
  }

  // Brings a gradient to the shape and dtype of the output it belongs to.
  void fit(Tensor& g, const OutputMeta& m, const char* op) {
    if (g.sizes() != m.sizes) {
      WEFT_CHECK(g.dim() >= m.sizes.size(), "backward: {} got a gradient {} for an output of shape {}", op, g, m.sizes);
      g = g.sum_to_size(m.sizes);
    }
    if (g.dtype() != m.dtype) g = g.to(m.dtype);
    if (g.device() != m.device) g = g.to(m.device);
  }

  void add(const Edge& e, Tensor g) {
    if (!captures.empty() && !leads.get(e.node)) return;
    fit(g, e.node->outputs[e.nr], e.node->name());
    Slot& s = slots[static_cast<size_t>(slot_of(e.node))];
    Tensor& sum = gradients[s.first + e.nr];
    if (!sum.defined()) {
      sum = std::move(g);
      return;
    }
    bool own = !create_graph && sum.use_count() == 1 && sum.impl()->storage->refs.value() == 1 && !sum.impl()->base &&
               !detail::overlaps_itself(sum.sizes(), sum.strides());
    if (own)
      sum.add_(g);
    else
      sum = sum.add(g);
  }

  void run_hooks(Node& n, Tensor* g) {
    const std::vector<NodeExtra::Hook> hooks = n.extra->hooks;  // a hook may remove itself
    for (const auto& h : hooks) {
      if (!g[h.nr].defined()) continue;
      Tensor replaced = h.call(g[h.nr]);
      if (!replaced.defined()) continue;
      WEFT_CHECK(replaced.sizes() == g[h.nr].sizes(), "hook of {}: returned {} for a gradient {}", n.name(), replaced,
                 g[h.nr]);
      g[h.nr] = replaced;
    }
    for (auto& [nr, impl] : n.extra->retain) {
      if (!g[nr].defined() || !impl) continue;
      impl->retain();
      Tensor t = Tensor::from_impl(impl);
      Tensor now = t.grad();
      t.set_grad(now.defined() ? now.add(g[nr]) : g[nr]);
    }
  }

  void check_nan(const Node& n, const Tensor* gin) {
    for (int i = 0; i < n.n_edges; ++i) {
      if (!gin[i].defined() || !is_floating(gin[i].dtype())) continue;
      NoGrad guard;
      if (!gin[i].detach().isnan().any().item().truth()) continue;
      std::string where = n.extra ? autograd::describe_trace(n.extra->trace) : std::string();
      detail::fail_with(detail::Fault::user, "backward: {} gave NaN for input {}; forward call site:{}", n.name(), i,
                        where.empty() ? " unknown (AnomalyMode was off in the forward pass)" : where);
    }
  }

  static void apply_profiled(Node& n, const Tensor* g, Tensor* gin) {
    const detail::ProfileScope scope({.kind = detail::ProfileKind::backward,
                                      .name = n.name(),
                                      .in = g,
                                      .n_in = n.n_outputs,
                                      .sequence = n.sequence});
    n.kind->apply(n, g, gin);
  }

  void run() {
    const bool anomaly = detail::thread_state.anomaly;
    std::vector<Tensor> g, gin;
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), older);
      Node* n = heap.back();
      heap.pop_back();
      uint32_t first = slots[static_cast<size_t>(slot_of(n))].first;
      g.clear();
      for (uint32_t i = 0; i < n->n_outputs; ++i) g.push_back(std::move(gradients[first + i]));
      if (n->extra) run_hooks(*n, g.data());
      autograd::run_leaf_hooks(*n, g.data());
      bool wanted = captures.empty();
      for (Capture& c : captures)
        if (c.edge.node == n) c.value = g[c.edge.nr];
      if (!wanted)
        for (int i = 0; i < n->n_edges && !wanted; ++i) wanted = n->edges[i].node && leads.get(n->edges[i].node);
      if (!wanted) continue;
      gin.assign(n->n_edges, Tensor());
      if (detail::profiling()) [[unlikely]]
        apply_profiled(*n, g.data(), gin.data());
      else
        n->kind->apply(*n, g.data(), gin.data());
      if (anomaly) [[unlikely]]
        check_nan(*n, gin.data());
      g.clear();
      for (int i = 0; i < n->n_edges; ++i)
        if (gin[static_cast<size_t>(i)].defined() && n->edges[i].node)
          add(n->edges[i], std::move(gin[static_cast<size_t>(i)]));
      if (!retain_graph) n->release_saved();
    }
  }

  // Marks the nodes from which a capture can be reached. Iterative: graphs can be 100,000 ops deep.
  void mark(Node* root) {
    std::vector<std::pair<Node*, int>> stack;
    auto enter = [&](Node* n) {
      if (leads.contains(n)) return;
      bool is_capture = false;
      for (const Capture& c : captures) is_capture |= c.edge.node == n;
      leads.set(n, is_capture);
      stack.push_back({n, 0});
    };
    enter(root);
    while (!stack.empty()) {
      auto& [n, next] = stack.back();
      if (next > 0 && n->edges[next - 1].node && leads.get(n->edges[next - 1].node)) leads.set(n, true);
      if (next == n->n_edges) {
        stack.pop_back();
        continue;
      }
      Node* child = n->edges[next++].node;
      if (child) enter(child);
    }
  }
};

thread_local Task* Task::current = nullptr;

namespace {

Tensor root_gradient(const Tensor& output, const Tensor& given, const char* op) {
  if (!given.defined()) {
    WEFT_CHECK(
        output.numel() == 1,
        "{}: the output {} has more than one element; give a gradient of its shape, or reduce it with sum() or mean()",
        op, output);
    return ones_like(output);
  }
  WEFT_CHECK(given.sizes() == output.sizes(), "{}: gradient {} for an output {}; the shapes must be equal", op, given,
             output);
  return given;
}

void start(Task& task, const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients, const char* op) {
  WEFT_CHECK(gradients.empty() || gradients.size() == outputs.size(), "{}: {} gradients for {} outputs", op,
             gradients.size(), outputs.size());
  std::vector<Tensor> first;
  task.roots.reserve(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    WEFT_CHECK(outputs[i].defined(), "{}: output {} is an undefined tensor", op, i);
    Edge e = autograd::gradient_edge(outputs[i]);
    WEFT_CHECK(e.node != nullptr,
               "{}: output {} ({}) does not require grad and has no history; set requires_grad on a leaf it depends "
               "on, outside of NoGrad",
               op, i, outputs[i]);
    task.roots.push_back(e);
    NoGrad guard;
    first.push_back(root_gradient(outputs[i], gradients.empty() ? Tensor() : gradients[i], op));
  }
  detail::GradModeRestore mode(task.create_graph);
  const detail::AutocastOff as_recorded;  // each gradient in the dtype of its forward op
  if (!task.captures.empty())
    for (const Edge& e : task.roots) task.mark(e.node);
  for (size_t i = 0; i < first.size(); ++i) task.add(task.roots[i], std::move(first[i]));
  task.run();
}

}  // namespace

void backward(const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients, BackwardOptions o) {
  Task task;
  task.create_graph = o.create_graph;
  task.retain_graph = o.retain_graph || o.create_graph;
  start(task, outputs, gradients, "backward");
}

std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs, const GradOptions& o) {
  Task task;
  task.create_graph = o.create_graph;
  task.retain_graph = o.retain_graph || o.create_graph;
  struct Release {
    std::vector<Task::Capture>& c;
    ~Release() {
      for (auto& x : c)
        if (x.edge.node) detail::release_node(x.edge.node);
    }
  } release{task.captures};
  for (size_t i = 0; i < inputs.size(); ++i) {
    WEFT_CHECK(inputs[i].defined() && inputs[i].requires_grad(), "grad: input {} ({}) does not require grad", i,
               inputs[i]);
    task.captures.push_back({autograd::gradient_edge(inputs[i]), Tensor()});
  }
  if (inputs.empty()) return {};
  start(task, outputs, o.grad_outputs, "grad");
  std::vector<Tensor> result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    WEFT_CHECK(task.captures[i].value.defined() || o.allow_unused,
               "grad: no output depends on input {} ({}); pass .allow_unused = true to get an undefined tensor", i,
               inputs[i]);
    result.push_back(task.captures[i].value);
  }
  return result;
}

void Tensor::backward(const Tensor& gradient, BackwardOptions options) const {
  weft::backward({*this}, gradient.defined() ? std::vector<Tensor>{gradient} : std::vector<Tensor>{}, options);
}

namespace autograd {

namespace {
// Threads that run backward on graphs with shared leaves take turns at a leaf.
std::mutex& leaf_mutex(const TensorImpl* leaf) {
  static std::mutex mutexes[64];
  return mutexes[(reinterpret_cast<uintptr_t>(leaf) >> 6) % 64];
}
}  // namespace

void at_backward_end(std::function<void()> f) {
  if (Task::current) Task::current->at_end.push_back(std::move(f));
}
void note_scaled_backward() {
  if (Task::current) Task::current->scaled = true;
}
bool has_scaled_grad(const Tensor& leaf) {
  const AutogradMeta* m = leaf.impl()->meta;
  return m && m->scaled && m->grad.defined() && m->grad.impl() == m->scaled && m->grad.version() == m->scaled_version;
}

void run_leaf_hooks(Node& node, Tensor* g) {
  if (node.kind->apply != &accumulate_grad || !g[0].defined()) return;
  AutogradMeta& m = meta(node.attrs<Tensor>());
  if (m.hooks.empty()) return;
  const std::vector<AutogradMeta::Hook> hooks = m.hooks;  // a hook may remove itself
  for (const AutogradMeta::Hook& h : hooks) {
    Tensor replaced = h.call(g[0]);
    if (!replaced.defined()) continue;
    WEFT_CHECK(replaced.sizes() == g[0].sizes(), "hook of a leaf: returned {} for a gradient {}", replaced, g[0]);
    g[0] = replaced;
  }
}

void accumulate_grad(Node& node, const Tensor* g, Tensor*) {
  Tensor leaf = node.attrs<Tensor>();
  if (!g[0].defined()) return;
  const Tensor& value = g[0];
  AutogradMeta& m = meta(leaf);
  {
    std::lock_guard lock(leaf_mutex(leaf.impl()));
    if (!m.grad.defined()) {
      // g[0] is the only handle: the buffer becomes the gradient itself.
      bool steal = !is_grad_enabled() && value.use_count() == 1 && value.impl()->storage->refs.value() == 1 &&
                   !value.impl()->base && (value.impl()->contiguous || value.strides() == leaf.strides());
      m.grad = steal ? value : is_grad_enabled() ? value.clone() : value.detach().clone(MemoryFormat::preserve);
      if (!is_grad_enabled() && m.grad.requires_grad()) m.grad = m.grad.detach();
    } else if (is_grad_enabled()) {
      m.grad = m.grad.add(value);
    } else {
      m.grad.add_(value);
    }
    const bool scaled = Task::current && Task::current->scaled;
    m.scaled = scaled ? m.grad.impl() : nullptr;
    if (scaled) m.scaled_version = m.grad.version();
  }
  if (m.post_accumulate.empty()) return;
  const std::vector<AutogradMeta::PostHook> hooks = m.post_accumulate;
  for (const AutogradMeta::PostHook& h : hooks) h.call(leaf);
}

}  // namespace autograd
}  // namespace weft
