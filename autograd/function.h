#pragma once
#include <any>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/node.h"
#include "core/tensor.h"
#include "core/thread_state.h"

// Ops with a gradient of the user's own (torch.autograd.Function):
//
//   struct Cube : Function<Cube> {
//     static Tensor forward(Context& c, const Tensor& x) {
//       c.save_for_backward({x});
//       return x * x * x;
//     }
//     static std::vector<Tensor> backward(Context& c, const std::vector<Tensor>& g) {
//       Tensor x = c.saved()[0];
//       return {g[0] * 3 * x * x};
//     }
//   };
//   Tensor y = Cube::apply(x);
//
// forward takes any arguments and returns a Tensor or std::vector<Tensor>; it runs without grad mode. backward gets one
// gradient per output and returns one per argument of forward (undefined: none; each member of a std::vector<Tensor>
// argument counts). Written in public ops, its own gradient comes free.
namespace weft {

/// What forward hands to backward.
class Context {
 public:
  /// Inputs, outputs or other tensors that backward reads; changing one of them in place afterwards is an error.
  void save_for_backward(std::vector<Tensor> tensors) { to_save_ = std::move(tensors); }
  /// In backward: the tensors saved. Error: freed by an earlier backward, or changed in place.
  std::vector<Tensor> saved() const;
  /// True when argument i of forward takes part in gradients.
  bool needs_input_grad(size_t i) const { return i < needs_.size() && needs_[i]; }
  /// Outputs without a gradient (integer outputs never have one).
  void mark_non_differentiable(std::vector<Tensor> outputs) { non_differentiable_ = std::move(outputs); }
  /// Inputs that forward changes in place and returns.
  void mark_dirty(std::vector<Tensor> inputs) { dirty_ = std::move(inputs); }
  /// true (default): gradients of unused outputs arrive as zeros; false: undefined.
  void set_materialize_grads(bool on) { materialize_ = on; }
  /// Anything that is not a tensor: `c.data["alpha"] = 0.5; std::any_cast<double>(c.data["alpha"])`.
  std::unordered_map<std::string, std::any> data;

 private:
  friend struct FunctionCall;
  std::vector<Tensor> to_save_, non_differentiable_, dirty_;
  std::vector<bool> needs_;
  bool materialize_ = true;
  Node* node_ = nullptr;
};

/// The parts of Function::apply that know no types.
struct FunctionCall {
  using Backward = std::vector<Tensor> (*)(Context&, const std::vector<Tensor>&);
  const NodeKind& kind;
  Backward backward;
  Context* context = new Context;
  std::vector<Tensor> inputs = {};  ///< one per argument; undefined for what is no tensor

  FunctionCall(const NodeKind& k, Backward b) : kind(k), backward(b) {}
  ~FunctionCall() { delete context; }
  FunctionCall(const FunctionCall&) = delete;
  FunctionCall& operator=(const FunctionCall&) = delete;

  template <class A>
  void add(const A& a) {
    if constexpr (std::is_same_v<A, Tensor>)
      inputs.push_back(a);
    else if constexpr (std::is_same_v<A, std::vector<Tensor>>)
      inputs.insert(inputs.end(), a.begin(), a.end());
    else
      inputs.emplace_back();
  }
  void prepare();
  /// Makes the outputs part of the graph.
  void finish(std::vector<Tensor>& outputs);
  static void run_backward(Node& node, const Tensor* g, Tensor* gin);
  static void destroy(Node& node);
  static const char* readable_name(const std::type_info& type);
};

/// Base of a user's op, see above.
template <class F>
struct Function {
  template <class... A>
  static auto apply(const A&... args) {
    static const NodeKind kind{FunctionCall::readable_name(typeid(F)), &FunctionCall::run_backward,
                               &FunctionCall::destroy};
    FunctionCall call(kind, &F::backward);
    (call.add(args), ...);
    call.prepare();
    using Result = decltype(F::forward(*call.context, args...));
    constexpr bool kOne = std::is_same_v<Result, Tensor>;
    static_assert(kOne || std::is_same_v<Result, std::vector<Tensor>>,
                  "forward returns a Tensor or a std::vector<Tensor>");
    std::vector<Tensor> outputs;
    {
      NoGrad guard;
      if constexpr (kOne)
        outputs.push_back(F::forward(*call.context, args...));
      else
        outputs = F::forward(*call.context, args...);
    }
    call.finish(outputs);
    if constexpr (kOne)
      return outputs[0];
    else
      return outputs;
  }
};

}  // namespace weft
