#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/dispatch.h"

namespace weft {

struct Task;

/// Where a gradient goes: input `nr` of the backward of `node`, i.e. output `nr` of the op it stands for.
struct Edge {
  Node* node = nullptr;
  uint32_t nr = 0;
};

/// Shape and dtype of an output of a node's op; gradients that arrive are reduced and cast to it.
struct OutputMeta {
  Dims sizes;
  DType dtype = DType::f32;
  Device device;
};

/// What a rule reads later. Outputs are kept without history (else node and output would own each other).
struct Saved {
  Tensor tensor;
  uint32_t version = 0;
  bool is_output = false;
  uint32_t nr = 0;
};

struct NodeKind {
  const char* name;
  /// gin has one slot per edge.
  void (*apply)(Node& node, const Tensor* g, Tensor* gin);
  void (*destroy)(Node& node) = nullptr;  ///< of what `attrs` holds
  void (*release)(Node& node) = nullptr;  ///< of saved values held in `attrs`
};

struct PackedTensor;

/// Rare parts of a node.
struct NodeExtra {
  struct Hook {
    int64_t id;
    uint32_t nr;
    std::function<Tensor(const Tensor&)> call;
  };
  std::vector<Hook> hooks;
  std::vector<std::pair<uint32_t, TensorImpl*>> retain;  ///< outputs whose .grad is kept; not owned
  std::vector<void*> trace;                              ///< forward call site (anomaly mode)
  std::vector<std::unique_ptr<PackedTensor>> packed;     ///< saved-tensor hooks, by index of saved
  std::vector<std::pair<uint32_t, Edge>> saved_history;  ///< of packed inputs: where their gradient goes
  NodeExtra();
  ~NodeExtra();
};

/// One recorded op. Variable size, one allocation: Node, edges, outputs, saved, attrs.
struct Node {
  RefCount refs;
  uint16_t n_edges = 0;
  uint16_t n_outputs = 0;
  uint16_t n_saved = 0;
  bool released = false;  ///< saved values are gone (backward without retain_graph)
  uint32_t bytes = 0;
  const NodeKind* kind = nullptr;
  const OpRecord* op = nullptr;
  uint64_t sequence = 0;  ///< creation order: consumers are always younger than producers
  std::atomic<Task*> owner{nullptr};
  int32_t slot = -1;  ///< of the owner's gradient table
  NodeExtra* extra = nullptr;
  Edge* edges = nullptr;
  OutputMeta* outputs = nullptr;
  Saved* saved = nullptr;
  void* attrs_ = nullptr;

  const char* name() const { return kind->name ? kind->name : op->name; }
  template <class A>
  A& attrs() const {
    return *static_cast<A*>(attrs_);
  }
  bool needs(int i) const { return i < n_edges && edges[i].node != nullptr; }
  /// The saved value of input/output i, with its history; throws when freed or changed in place since.
  Tensor input(int i) const;
  Tensor output(int i) const;
  Tensor saved_value(int index) const;
  /// The saved value as the node holds it, checked as above: without a history if it is an output; null for values
  /// that saved-tensor hooks hold.
  const Tensor* saved_handle(int index) const;
  NodeExtra& more() {
    if (!extra) extra = new NodeExtra;
    return *extra;
  }
  void retain() { refs.add(); }
  /// Frees the saved values.
  void release_saved();

  static Node* create(const NodeKind* kind, const OpRecord* op, int n_edges, int n_outputs, int n_saved,
                      size_t attrs_bytes);
  void save(int index, const Tensor& value, bool is_output, uint32_t nr);
};

namespace detail {
struct ReleaseNode {
  void operator()(Node* n) const { release_node(n); }
};
/// A node being recorded: freed when an error cuts the recording short.
using NodeOwner = std::unique_ptr<Node, ReleaseNode>;
}  // namespace detail

namespace autograd {

/// The edge for a tensor's gradient: its grad_fn, or the accumulator of a leaf; empty when it needs none.
Edge gradient_edge(const Tensor& t);
/// grad_fn, made anew for views whose memory changed in place.
Node* grad_fn(const Tensor& t);

}  // namespace autograd
}  // namespace weft
