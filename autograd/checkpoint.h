#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

// Activation checkpointing (torch.utils.checkpoint, the non-reentrant kind): a region of the forward pass keeps its
// inputs instead of what its ops save for backward, and runs again when backward needs those.
namespace weft {

namespace detail {

inline void take_tensors(Tensor& t, std::vector<Tensor>& out) { out.push_back(std::exchange(t, Tensor())); }
inline void take_tensors(std::vector<Tensor>& all, std::vector<Tensor>& out) {
  for (Tensor& t : all) take_tensors(t, out);
}
inline void take_tensors(std::optional<Tensor>& t, std::vector<Tensor>& out) {
  if (t) take_tensors(*t, out);
}
template <class T>
void take_tensors(T&, std::vector<Tensor>&) {}

inline void put_tensors(Tensor& t, const Tensor*& from) { t = *from++; }
inline void put_tensors(std::vector<Tensor>& all, const Tensor*& from) {
  for (Tensor& t : all) put_tensors(t, from);
}
inline void put_tensors(std::optional<Tensor>& t, const Tensor*& from) {
  if (t) put_tensors(*t, from);
}
template <class T>
void put_tensors(T&, const Tensor*&) {}

/// While alive, what this thread's ops save is noted and dropped. `rerun` runs the region again on tensors like
/// `inputs`.
class CheckpointRegion {
 public:
  using Rerun = std::function<void(const std::vector<Tensor>& inputs)>;
  CheckpointRegion(std::vector<Tensor> inputs, Rerun rerun);
  ~CheckpointRegion();
  CheckpointRegion(const CheckpointRegion&) = delete;
  CheckpointRegion& operator=(const CheckpointRegion&) = delete;

 private:
  struct Hooks;
  std::unique_ptr<Hooks> hooks_;
};

}  // namespace detail

/// fn(args...), whose ops keep nothing for backward but `args`: backward runs fn once more (as far as it has to) to
/// have their values, and drops them as it goes. Gradients are bit for bit those of fn(args...).
///
///   Tensor y = checkpoint(block, x);                                    // a module, a function, a lambda
///   auto [a, b] = checkpoint([&](const Tensor& x) { ...; return std::pair(u, v); }, x);
///
/// The second run has the random numbers of default_generator(), the Autocast and the grad mode of the first; running
/// statistics of batch norm are updated in the first only. fn may call checkpoint itself, grad(), custom Functions;
/// double backward works. fn and args are copied (a module's copy shares its parameters); what fn captures by reference
/// must live until backward. Tensors that fn needs should be args (Tensor, std::optional or std::vector of them), so
/// that an outer region can drop them.
///
/// Errors, in backward: the second run gave other ops, shapes or dtypes than the first, or fewer; an argument or a
/// parameter was changed in place in between. Both name the op.
template <class F, class... Args>
auto checkpoint(F&& fn, Args&&... args) {
  if (!is_grad_enabled()) return std::invoke(fn, args...);
  struct Call {
    std::decay_t<F> fn;
    std::tuple<std::decay_t<Args>...> args;
  };
  auto call = std::make_shared<Call>(Call{fn, {args...}});
  std::vector<Tensor> inputs;
  std::apply([&](auto&... a) { (detail::take_tensors(a, inputs), ...); }, call->args);
  const detail::CheckpointRegion region(std::move(inputs), [call](const std::vector<Tensor>& again) {
    auto filled = call->args;
    [[maybe_unused]] const Tensor* from = again.data();
    std::apply([&](auto&... a) { (detail::put_tensors(a, from), ...); }, filled);
    std::apply([&](auto&... a) { std::invoke(call->fn, a...); }, filled);
  });
  return std::invoke(fn, args...);
}

/// functions[n - 1](... functions[0](input)) in `segments` parts of about equal length, all but the last one
/// checkpointed. About sqrt(n) segments need the least memory. Functions take and return one Tensor; anything with
/// begin() and end(): a std::vector of std::function, of modules, an nn::Sequential's children.
template <class Functions>
Tensor checkpoint_sequential(const Functions& functions, int64_t segments, const Tensor& input) {
  using F = std::decay_t<decltype(*std::begin(functions))>;
  const auto all = std::make_shared<std::vector<F>>(std::begin(functions), std::end(functions));
  const int64_t n = static_cast<int64_t>(all->size());
  WEFT_CHECK(segments >= 1 && segments <= (n > 1 ? n : 1),
             "checkpoint_sequential: {} segments of {} functions; needs 1 to {}", segments, n, n);
  const auto run = [all](int64_t begin, int64_t end) {
    return [all, begin, end](Tensor x) {
      for (int64_t i = begin; i < end; ++i) x = (*all)[static_cast<size_t>(i)](x);
      return x;
    };
  };
  const int64_t length = n / segments, last = length * (segments - 1);
  Tensor x = input;
  for (int64_t begin = 0; begin < last; begin += length) x = checkpoint(run(begin, begin + length), x);
  return run(last, n)(x);
}

}  // namespace weft
