#include "compile/report.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "compile/code.h"
#include "compile/constants.h"
#include "compile/plan_choice.h"
#include "compile/tune.h"
#include "core/call_site.h"
#include "core/error.h"

namespace weft::graph {

int debug_level() {
  static const int level = [] {
    const char* text = std::getenv("WEFT_DEBUG");
    return text ? std::atoi(text) : 0;
  }();
  return level;
}

void debug(int level, const std::string& text) {
  if (debug_level() >= level) std::fprintf(stderr, "weft: compiled function: %s\n", text.c_str());
}

namespace {

/// Describes each frame once: the look-up goes through all symbols of the program.
class Frames {
 public:
  const std::string& operator()(void* frame) {
    const auto [at, fresh] = known_.try_emplace(frame);
    if (fresh) at->second = detail::describe_frame(frame);
    return at->second;
  }

 private:
  std::unordered_map<void*, std::string> known_;
};

std::string call_text(const CallSite& site, Frames& frames) {
  std::string unnamed;
  for (void* frame : site) {
    if (!frame) break;
    const std::string& name = frames(frame);
    // Ours are named; the program's own functions often are not.
    const std::string function = name.substr(0, name.find('('));
    if (function.find("weft::") != std::string::npos && function.find("weft::nn::") == std::string::npos &&
        function.find("forward") == std::string::npos)
      continue;
    if (name.find(" +0x") == std::string::npos) return " at " + name;
    if (unnamed.empty()) unnamed = " at " + name;
  }
  return unnamed;
}

// Why an op runs by its own kernel; "" for those that can do nothing else.
const char* why_alone(const Step& s) {
  if (s.pointwise())
    return fusable(s) ? ", alone: no op beside it goes over the same elements"
                      : ", alone: its operands do not lie along its result";
  return s.rows.rows > 1 ? ", alone: going by rows would gain nothing" : "";
}

std::string plan_text(const Graph& g, const Plan& p, Frames& frames) {
  std::string text;
  if (p.kept) {
    text += detail::format("  kept from call to call, {} bytes:", {p.kept->bytes});
    for (size_t k = 0; k < g.steps.size(); ++k)
      if (p.kept->steps[k]) text += " " + g.steps[k].name();
    text += "\n";
  }
  for (const auto& run : p.runs) {
    const Step& first = g.steps[static_cast<size_t>(run.first)];
    text += detail::format("  {}  {}{}{}\n", {run_text(g, p, run), first.out.empty() ? Dims() : first.out[0].sizes,
                                              call_text(g.sites[static_cast<size_t>(run.first)], frames),
                                              run.fused || run.again ? "" : why_alone(first)});
  }
  return text;
}

}  // namespace

std::string run_text(const Graph& g, const Plan& p, const Plan::Run& run) {
  const auto name = [&](int k) { return g.steps[static_cast<size_t>(k)].name(); };
  if (!run.fused) return (run.again ? "again " : "") + name(run.first);
  std::string text = "fused:";
  if (run.rows < 0) {
    for (int i = run.steps_at; i < run.steps_at + run.steps; ++i) text += " " + name(p.step_of[static_cast<size_t>(i)]);
    return text;
  }
  const cpu::RowGroup& group = p.row_groups[static_cast<size_t>(run.rows)];
  text = detail::format("fused, {} rows at a time:", {group.block});
  for (const cpu::RowPart& part : group.parts) {
    if (part.call >= 0) text += " " + name(group.calls[static_cast<size_t>(part.call)].step);
    for (int i = 0; i < part.steps; ++i)
      text += " " + name(p.step_of[static_cast<size_t>(run.steps_at + part.steps_at + i)]);
  }
  return text;
}

std::string call_text(const CallSite& site) {
  Frames frames;
  return call_text(site, frames);
}

std::string plan_text(const Graph& g, const Plan& p) {
  Frames frames;
  return plan_text(g, p, frames);
}

std::string report(Cache& c) {
  std::lock_guard lock(c.mutex);
  std::string text = detail::format(
      "{} calls: {} stretches of ops matched a recording, {} were recorded, {} ended in the middle of a "
      "call; {} recordings given up\n",
      {c.calls, c.matched, c.recorded, c.broken, c.dropped});
  if (c.at_once)
    text += detail::format("{} calls did not wait: their recordings have too little to fuse\n", {c.at_once});
  if (c.direct)
    text += detail::format("{} calls replayed directly, {} of the others run to compare\n", {c.direct, c.verified});
  Frames frames;
  for (size_t i = 0; i < c.entries.size(); ++i) {
    const Entry& e = *c.entries[i];
    const auto used = in_use(e.plan);
    const Plan& p = used->chosen();
    text += detail::format(
        "recording {}: {} ops in {} kernels, run {} times; {} ops fused, {} not needed, {} computed before, {} run "
        "twice to save memory; pointwise bytes {} -> {}; memory within the call {} -> {} bytes{}\n",
        {i, e.graph.steps.size(), p.kernels, e.runs, p.fused_ops, p.dead_ops, p.shared_ops, p.again, p.bytes_before,
         p.bytes_after, p.unplanned_bytes, p.scratch_bytes(),
         p.with_results.results ? detail::format(", {} of results beside them", {p.with_results.results}) : ""});
    text += plan_text(e.graph, p, frames);
    if (const std::string code = p.code->describe(); !code.empty()) {
      text += "  " + code;
      if (const auto since = p.code->in_use_since()) {
        char seconds[64];
        std::snprintf(seconds, sizeof seconds, ", in use %.3f s after the first call",
                      std::chrono::duration<double>(*since - c.first_call).count());
        text += seconds;
      }
      text += "\n";
    }
    if (used->choice) text += used->choice->describe();
    if (p.tuner) text += p.tuner->describe();
  }
  for (const std::string& w : c.wrong) text += w + "\n";
  for (const std::string& r : c.matched_because) text += "no direct replay: " + r + "\n";
  for (const std::string& r : c.reasons) text += "recorded: " + r + "\n";
  for (const std::string& b : c.explained) text += "ended in the middle, as its ops need, " + b + "\n";
  for (const std::string& b : c.breaks) text += "ended in the middle " + b + "\n";
  return text;
}

}  // namespace weft::graph
