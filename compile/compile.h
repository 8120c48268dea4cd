#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "compile/arguments.h"
#include "core/random.h"
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

/// As torch.compile's modes. In all of them calls are right; reduce_overhead and max_autotune go over to direct replay
/// where it is safe: after three calls that agree the function's code is not run, only its kernels, with memory laid
/// out once. It is safe for a function that captures nothing (a function, a lambda with empty brackets) and reads no
/// tensor but its arguments; anything else has to be declared (CompileOptions::pure). Arguments are Tensors, vectors of
/// them, numbers and modules, results Tensors (none, one, a vector, tuple, pair or array). A call whose shapes, dtypes,
/// numbers or thread state (grad mode, autocast, ...) are new is learnt anew. Calls keep being matched, and report()
/// says why, where the code does more than that: it reads values (item()), makes tensors that live on (a new `.grad`,
/// optimizer state), draws random numbers, returns a result with a history, uses numbers that change (an optimizer's
/// step) or device tensors. What is neither argument nor result of a function without captures - global variables, text
/// that it prints - is not seen.
/// max_autotune and max_autotune_no_cudagraphs (which has no direct replay) also time fused kernels of the CPU, once
/// generated code is there, in the few dozen calls that follow: with that code and with the loops of the ops,
/// in pieces of other sizes for caches and threads, by rows or op by op. Each way gives the same bits, and stays as it
/// is unless another is faster by 3%. What was chosen is kept in the folder of compiled kernels (WEFT_CACHE_DIR) for
/// this CPU, version, number of threads and kernels; report() tells it. WEFT_TUNE=off: nothing is timed.
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
  size_t recordings = 16;  ///< kept; beyond it one that was not used lately goes
  /// Direct replay: after so many replayed calls the function's code runs once more and is compared; 0: never. A
  /// difference is reported as a fallback (on_fallback), and direct replay ends.
  int64_t verify_every = 1000;
  /// A promise for direct replay: calls depend on nothing but arguments, the contents of captured tensors and captured
  /// things that never change, and do nothing but return results and write to tensors that exist. Of a module, whether
  /// the function itself or an argument, parts, training flags, frozen parameters and plain members are compared in
  /// each call; a captured tensor that was re-assigned is noticed when nobody else holds the old one.
  bool pure = false;
  /// A second promise, with `pure`: captured tensors are changed by ops alone (in place, load_state_dict(), an
  /// optimizer), which is noticed, and not through an address (data_ptr(), data<T>(), DLPack). Then linear layers and
  /// convolutions that are replayed directly keep their weights as their kernels read them: as much memory again, and
  /// rearranged only when a weight has changed.
  bool freezing = false;
};

/// What calls of a compiled function came to. A call is one stretch of ops, unless the host asks for values in the
/// middle of it.
struct CompileStats {
  int64_t calls = 0;
  int64_t matched = 0;                       ///< stretches that agreed with a recording
  int64_t recorded = 0;                      ///< stretches that made one
  int64_t at_once = 0;                       ///< calls whose kernels did not wait: nothing was there to gain
  std::vector<std::string> reasons;          ///< why, the latest last; at most 16
  std::vector<std::string> breaks;           ///< where the host asked for values in the middle, each once; at most 16
  int64_t direct = 0;                        ///< calls replayed without running the function's code
  int64_t verified = 0;                      ///< calls that ran it again, to compare
  std::vector<std::string> matched_because;  ///< why calls were not replayed directly, each once; at most 16
  int64_t with_code = 0;                     ///< recordings that run with generated code
  int64_t building = 0;                      ///< recordings whose code is being built
  double code_s = 0;  ///< seconds from the first call until the latest generated code was in use; 0: none
  int64_t timed = 0;  ///< runs of recordings that were timed to choose between ways (max_autotune)
  /// Where ops themselves asked for values in the middle, as what they do needs (nonzero), each once; at most 16.
  std::vector<std::string> explained;
};

namespace graph {
class Recorder;
struct Observed;
struct Seen;
}  // namespace graph
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
  /// `observed`: gets what the call came to; may be null.
  explicit CompiledCall(CompiledState& state, graph::Observed* observed = nullptr);
  ~CompiledCall();
  CompiledCall(const CompiledCall&) = delete;
  CompiledCall& operator=(const CompiledCall&) = delete;
  /// Runs what waits. Errors that only a kernel can see (an index out of range) come from here.
  void finish();

 private:
  CompiledState* state_ = nullptr;
  graph::Recorder* recorder_ = nullptr;
};

/// `why` direct replay is not used.
void keep_matched(CompiledState& state, const char* why);

/// One call in a mode with direct replay: replays it, or watches it being matched.
class DirectCall {
 public:
  DirectCall(CompiledState& state, std::vector<Argument> arguments);
  ~DirectCall();
  DirectCall(const DirectCall&) = delete;
  DirectCall& operator=(const DirectCall&) = delete;
  /// Whether the call is done.
  bool run();
  std::vector<Tensor>& results() { return results_; }
  /// Null: there is nothing to learn from this call.
  graph::Observed* observed() { return observed_.get(); }
  /// After a call that was matched: `after` describes the arguments again.
  void learn(const std::vector<Argument>& after, const std::vector<Tensor>& results);

 private:
  std::string changed(const std::vector<Argument>& after) const;

  CompiledState* state_;
  const std::vector<Argument> arguments_;
  const std::vector<const Tensor*> tensors_;  ///< among the arguments
  std::shared_ptr<graph::Seen> seen_;
  std::unique_ptr<graph::Observed> observed_;
  bool verifies_ = false;
  std::vector<Tensor> results_;
  // Of a call that is watched, before it begins.
  std::vector<Tensor> handles_;
  std::vector<const Storage*> before_;
  Generator::State random_{};
};

}  // namespace detail

/// What compile() returns; copies share their recordings. Several threads may call it if they may call F.
template <class F>
class Compiled {
 public:
  Compiled(F fn, const CompileOptions& o) : fn_(std::forward<F>(fn)), state_(detail::make_compiled(o)) {
    if (o.mode != CompileMode::reduce_overhead && o.mode != CompileMode::max_autotune) return;
    direct_ = detail::captures_nothing<Function> || o.pure;
    if (!direct_)
      detail::keep_matched(*state_,
                           detail::HasParameters<Function>
                               ? "it is a module, whose code may use what cannot be compared; give .pure = true "
                                 "if it does not"
                               : "it captures variables, which cannot be compared; pass them as arguments, or "
                                 "give .pure = true if they never change");
  }

  template <class... A>
  decltype(auto) operator()(A&&... a) {
    using R = std::invoke_result_t<F&, A...>;
    if (direct_) {
      if constexpr (detail::ResultOf<R>::known)
        return direct<R>(std::forward<A>(a)...);
      else
        detail::keep_matched(*state_, "its result is of a type that may hold more than Tensors");
    }
    detail::CompiledCall call(*state_);
    return static_cast<R>(matched<R>(call, std::forward<A>(a)...));
  }
  CompileStats stats() const { return detail::compiled_stats(*state_); }
  /// Recordings, what was fused and saved, why recordings were made, where the host read values in the middle.
  std::string report() const { return detail::compiled_report(*state_); }
  /// The recordings for graphviz, a box per kernel.
  std::string dot() const { return detail::compiled_dot(*state_); }

 private:
  using Function = std::remove_cvref_t<F>;

  template <class R, class... A>
  R matched(detail::CompiledCall& call, A&&... a) {
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

  template <class R, class... A>
  R direct(A&&... a) {
    const auto describe = [&] {
      std::vector<detail::Argument> list;
      list.reserve(sizeof...(A) + 1);
      if constexpr (detail::HasParameters<Function>) list.push_back(detail::describe_argument(fn_, true));
      (list.push_back(detail::describe_argument(a, std::is_lvalue_reference_v<A>)), ...);
      return list;
    };
    detail::DirectCall direct(*state_, describe());
    if (direct.run()) {
      if constexpr (std::is_void_v<R>)
        return;
      else
        return detail::ResultOf<R>::make(direct.results());
    }
    detail::CompiledCall call(*state_, direct.observed());
    std::vector<Tensor> results;
    if constexpr (std::is_void_v<R>) {
      matched<R>(call, std::forward<A>(a)...);
      if (direct.observed()) direct.learn(describe(), results);
    } else {
      R result = matched<R>(call, std::forward<A>(a)...);
      if (direct.observed()) {
        detail::ResultOf<R>::list(result, results);
        direct.learn(describe(), results);
      }
      return result;
    }
  }

  F fn_;
  std::shared_ptr<detail::CompiledState> state_;
  bool direct_ = false;
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
