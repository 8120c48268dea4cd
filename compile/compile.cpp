#include "compile/compile.h"

#include <algorithm>
#include <chrono>

#include "compile/code.h"
#include "compile/constants.h"
#include "compile/plan_choice.h"
#include "compile/report.h"
#include "compile/state.h"
#include "compile/tune.h"
#include "core/error.h"

namespace weft {

std::optional<CompileMode> parse_compile_mode(std::string_view text) {
  constexpr std::pair<std::string_view, CompileMode> kModes[] = {
      {"default", CompileMode::default_},
      {"reduce-overhead", CompileMode::reduce_overhead},
      {"max-autotune", CompileMode::max_autotune},
      {"max-autotune-no-cudagraphs", CompileMode::max_autotune_no_cudagraphs}};
  for (const auto& [name, mode] : kModes)
    if (name == text) return mode;
  return std::nullopt;
}

}  // namespace weft

namespace weft::detail {

std::shared_ptr<CompiledState> make_compiled(const CompileOptions& o) {
  WEFT_CHECK(o.recordings > 0, "compile: recordings must be at least 1");
  WEFT_CHECK(o.verify_every >= 0, "compile: verify_every must not be negative, got {}", o.verify_every);
  return std::make_shared<CompiledState>(o);
}

CompiledCall::CompiledCall(CompiledState& state, graph::Observed* observed) {
  std::lock_guard lock(state.cache.mutex);
  if (state.cache.calls++ == 0) state.cache.first_call = std::chrono::steady_clock::now();
  if (thread_state.deferral) return;
  if (!observed && state.cache.useless == graph::kMostUseless && state.cache.options.on_fallback != OnFallback::error &&
      !graph::looks_again(++state.cache.since_useless)) {
    ++state.cache.at_once;
    return;
  }
  if (state.idle.empty()) {
    recorder_ = new graph::Recorder(state.cache);
  } else {
    recorder_ = state.idle.back().release();
    state.idle.pop_back();
  }
  state_ = &state;
  recorder_->observe(observed);
  thread_state.deferral = recorder_;
}
CompiledCall::~CompiledCall() {
  if (!recorder_) return;
  thread_state.deferral = nullptr;
  recorder_->reset();
  std::lock_guard lock(state_->cache.mutex);
  state_->idle.emplace_back(recorder_);
}
void CompiledCall::finish() {
  if (recorder_) recorder_->finish();
}

CompileStats compiled_stats(const CompiledState& state) {
  graph::Cache& c = state.cache;
  std::lock_guard lock(c.mutex);
  CompileStats s{.calls = c.calls,
                 .matched = c.matched,
                 .recorded = c.recorded,
                 .at_once = c.at_once,
                 .reasons = c.reasons,
                 .breaks = c.breaks,
                 .direct = c.direct,
                 .verified = c.verified,
                 .matched_because = c.matched_because,
                 .explained = c.explained};
  for (const auto& e : c.entries) {
    if (!e->plan) continue;
    const auto used = graph::in_use(e->plan);
    const graph::Plan& plan = used->chosen();
    s.building += plan.code->building();
    if (const auto since = plan.code->in_use_since()) {
      ++s.with_code;
      s.code_s = std::max(s.code_s, std::chrono::duration<double>(*since - c.first_call).count());
    }
    if (plan.tuner) s.timed += plan.tuner->timed();
    if (used->choice) s.timed += used->choice->timed();
  }
  return s;
}

std::string compiled_report(const CompiledState& state) { return graph::report(state.cache); }

std::string compiled_dot(const CompiledState& state) {
  graph::Cache& c = state.cache;
  std::lock_guard lock(c.mutex);
  std::string text;
  for (const auto& e : c.entries) text += e->graph.dot();
  return text;
}

}  // namespace weft::detail
