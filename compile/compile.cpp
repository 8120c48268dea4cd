#include "compile/compile.h"

#include "compile/recorder.h"
#include "core/error.h"

namespace weft::detail {

class CompiledState {
 public:
  mutable graph::Cache cache;
  std::vector<std::unique_ptr<graph::Recorder>> idle;  ///< guarded by cache.mutex; one per call at once
};

std::shared_ptr<CompiledState> make_compiled(const CompileOptions& o) {
  WEFT_CHECK(o.recordings > 0, "compile: recordings must be at least 1");
  auto state = std::make_shared<CompiledState>();
  state->cache.most = o.recordings;
  return state;
}

CompiledCall::CompiledCall(CompiledState& state) {
  std::lock_guard lock(state.cache.mutex);
  ++state.cache.calls;
  if (thread_state.deferral) return;
  if (state.idle.empty()) {
    recorder_ = new graph::Recorder(state.cache);
  } else {
    recorder_ = state.idle.back().release();
    state.idle.pop_back();
  }
  state_ = &state;
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

namespace {

std::string report_of(const graph::Entry& e) {
  const graph::Graph& g = e.graph;
  const graph::Plan& p = *e.plan;
  std::string text =
      format("{} ops in {} kernels, run {} times; {} ops fused, {} not needed; pointwise bytes {} -> {}\n",
             {g.steps.size(), p.kernels, e.runs, p.fused_ops, p.dead_ops, p.bytes_before, p.bytes_after});
  for (const auto& run : p.runs) {
    if (!run.fused) continue;
    text += "  fused:";
    for (int i = run.steps_at; i < run.steps_at + run.steps; ++i)
      text += " " + g.steps[static_cast<size_t>(p.step_of[static_cast<size_t>(i)])].name();
    text += format("  {}\n", {g.steps[static_cast<size_t>(run.first)].out[0].sizes});
  }
  return text;
}

}  // namespace

CompileStats compiled_stats(const CompiledState& state) {
  graph::Cache& c = state.cache;
  std::lock_guard lock(c.mutex);
  return {c.calls, c.matched, c.recorded, c.reasons, c.breaks};
}

std::string compiled_report(const CompiledState& state) {
  graph::Cache& c = state.cache;
  std::lock_guard lock(c.mutex);
  std::string text =
      format("{} calls: {} stretches of ops matched a recording, {} were recorded, {} ended in the middle of a call\n",
             {c.calls, c.matched, c.recorded, c.broken});
  for (size_t i = 0; i < c.entries.size(); ++i) text += format("recording {}: ", {i}) + report_of(*c.entries[i]);
  for (const std::string& r : c.reasons) text += "recorded: " + r + "\n";
  for (const std::string& b : c.breaks) text += "ended in the middle " + b + "\n";
  return text;
}

std::string compiled_dot(const CompiledState& state) {
  graph::Cache& c = state.cache;
  std::lock_guard lock(c.mutex);
  std::string text;
  for (const auto& e : c.entries) text += e->graph.dot();
  return text;
}

}  // namespace weft::detail
