#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/tensor.h"

// compile(): the same function with fewer passes over memory. In a call the function's own code runs, with all its
// branches, side effects, hooks, history and random states; only kernels wait (core/deferral.h). They are compared, one
// by one, with those that the last calls recorded (recorder.h); at the end of the call, or when the host asks for
// values, they run: chains of pointwise ops tile by tile, without the results that nobody holds any more (plan.h).
// Memory is given out in the order of the program, as a stream would, so that addresses are known at once. Numbers are
// inputs of each call: a schedule or a step counter never makes a new recording. Same bits as without, always; a held
// output is never overwritten. Where recordings have nothing to fuse, calls soon run as if not compiled, and are looked
// at again now and then.
namespace weft {

/// As torch.compile's modes. On the CPU they all run alike.
enum class CompileMode { default_, reduce_overhead, max_autotune, max_autotune_no_cudagraphs };
/// "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"; nothing for another text.
std::optional<CompileMode> parse_compile_mode(std::string_view text);

/// What to do when a call is cut in parts: the host reads values in the middle, or 20000 ops wait. Results are right in
/// any case.
enum class OnFallback {
  warn,   ///< a line on stderr, once for each reason
  error,  ///< CompileError where it happens; kernels before it have run
  silent
};

enum class Numerics {
  match,  ///< the bits of the same function not compiled
  fast    ///< bf16 and f16 results that only live inside a fused kernel are not rounded
};

struct CompileOptions {
  CompileMode mode = CompileMode::default_;
  OnFallback on_fallback = OnFallback::warn;
  Numerics numerics = Numerics::match;
  size_t recordings = 16;  ///< kept; beyond it the least used goes
};

/// What calls of a compiled function came to. A call is one stretch of ops, unless the host asks for values in the
/// middle of it.
struct CompileStats {
  int64_t calls = 0;
  int64_t matched = 0;               ///< stretches that agreed with a recording
  int64_t recorded = 0;              ///< stretches that made one
  int64_t at_once = 0;               ///< calls whose kernels did not wait: nothing was there to gain
  std::vector<std::string> reasons;  ///< why, the latest last; at most 16
  std::vector<std::string> breaks;   ///< where the host asked for values in the middle, each once; at most 16
};

namespace graph {
class Recorder;
}
namespace detail {

class CompiledState;
std::shared_ptr<CompiledState> make_compiled(const CompileOptions& o);
CompileStats compiled_stats(const CompiledState& state);
std::string compiled_report(const CompiledState& state);
std::string compiled_dot(const CompiledState& state);

/// One call: from here to finish() kernels of this thread wait. Inside another compiled function's call it does
/// nothing: they are part of that.
class CompiledCall {
 public:
  explicit CompiledCall(CompiledState& state);
  ~CompiledCall();
  CompiledCall(const CompiledCall&) = delete;
  CompiledCall& operator=(const CompiledCall&) = delete;
  /// Runs what waits. Errors that only a kernel can see (an index out of range) come from here.
  void finish();

 private:
  CompiledState* state_ = nullptr;
  graph::Recorder* recorder_ = nullptr;
};

}  // namespace detail

/// What compile() returns; copies share their recordings. Several threads may call it if they may call F.
template <class F>
class Compiled {
 public:
  Compiled(F fn, const CompileOptions& o) : fn_(std::forward<F>(fn)), state_(detail::make_compiled(o)) {}

  template <class... A>
  decltype(auto) operator()(A&&... a) {
    detail::CompiledCall call(*state_);
    using R = std::invoke_result_t<F&, A...>;
    try {
      if constexpr (std::is_void_v<R>) {
        fn_(std::forward<A>(a)...);
        call.finish();
      } else {
        R result = fn_(std::forward<A>(a)...);
        call.finish();
        return static_cast<R>(std::forward<R>(result));
      }
    } catch (...) {
      call.finish();  // what came before the exception has happened
      throw;
    }
  }
  CompileStats stats() const { return detail::compiled_stats(*state_); }
  /// Recordings, what was fused and saved, why recordings were made, where the host read values in the middle.
  std::string report() const { return detail::compiled_report(*state_); }
  /// The recordings for graphviz, a box per kernel.
  std::string dot() const { return detail::compiled_dot(*state_); }

 private:
  F fn_;
  std::shared_ptr<detail::CompiledState> state_;
};

/// `fn`: anything that can be called, with any arguments and results: an inference function, a loss with its
/// backward(), a whole training step. A function object is copied; a Module given by name is referred to and must
/// outlive the result. Threads that fn starts itself must not read tensors that it has just made.
template <class F>
auto compile(F&& fn, const CompileOptions& o = {}) {
  if constexpr (std::is_lvalue_reference_v<F> && requires { fn.parameters(); })
    return Compiled<F>(fn, o);
  else
    return Compiled<std::decay_t<F>>(std::forward<F>(fn), o);
}

}  // namespace weft
