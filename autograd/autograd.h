#pragma once
#include <any>
#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/thread_state.h"

namespace weft {

struct GradOptions {
  std::vector<Tensor> grad_outputs = {};  ///< one per output; may be left out for one-element outputs
  bool retain_graph = false;
  bool create_graph = false;
  bool allow_unused = false;  ///< an input that no output depends on gives an undefined Tensor instead of an error
};

/// Gradients of sum(outputs * grad_outputs) by `inputs`, returned and not accumulated (torch.autograd.grad).
std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                         const GradOptions& o = {});
/// The same into the .grad of all leaves (torch.autograd.backward).
void backward(const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients = {}, BackwardOptions o = {});

/// While alive, what ops of this thread save for backward goes through `pack` and, when needed again, `unpack`
/// (torch.autograd.graph.saved_tensors_hooks).
class SavedTensorHooks {
 public:
  using Pack = std::any;
  using PackFn = std::function<std::any(const Tensor&)>;
  using Unpack = std::function<Tensor(const std::any&)>;
  SavedTensorHooks(PackFn pack, Unpack unpack);
  ~SavedTensorHooks();
  SavedTensorHooks(const SavedTensorHooks&) = delete;
  SavedTensorHooks& operator=(const SavedTensorHooks&) = delete;
};

/// While alive, backward checks every gradient for NaN and names the op and the place in the forward pass that made it
/// (torch.autograd.detect_anomaly). Slow; for debugging. Link with -rdynamic to see function names.
class AnomalyMode {
 public:
  explicit AnomalyMode(bool on = true) : before_(detail::thread_state.anomaly) { detail::thread_state.anomaly = on; }
  ~AnomalyMode() { detail::thread_state.anomaly = before_; }
  AnomalyMode(const AnomalyMode&) = delete;
  AnomalyMode& operator=(const AnomalyMode&) = delete;

 private:
  bool before_;
};

namespace autograd {
struct SavedHooks {
  SavedTensorHooks::PackFn pack;
  SavedTensorHooks::Unpack unpack;
};
const SavedHooks* current_saved_hooks();
/// Backward of a leaf: adds g[0] to its .grad and calls its post-accumulate hooks.
void accumulate_grad(Node& node, const Tensor* g, Tensor* gin);
/// Hooks of a leaf, when `node` accumulates its gradient.
void run_leaf_hooks(Node& node, Tensor* g);
/// One line per frame: function (where the symbol table knows it) and address.
std::string describe_trace(const std::vector<void*>& frames);
}  // namespace autograd

}  // namespace weft
