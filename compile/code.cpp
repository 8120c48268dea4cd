#include "compile/code.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "compile/report.h"
#include "core/error.h"

namespace weft::graph {
namespace {

// A compiler's time is spent on plans that run again and whose code would have saved so many nanoseconds by now.
constexpr int64_t kUses = 2;
constexpr double kSaved = 200e3;

// Nanoseconds that code saves in a run, about.
double saves(const Graph& g, const Plan& plan) {
  constexpr double kStep = 30, kElement = 0.1;
  double all = 0;
  for (const Plan::Run& run : plan.runs) {
    const Step& first = g.steps[static_cast<size_t>(run.first)];
    if (run.fused)
      all += run.steps * (kStep + kElement * static_cast<double>(first.out.empty() ? 0 : first.out[0].numel));
  }
  return all;
}

std::string_view native_mode() {
  const char* text = std::getenv("WEFT_NATIVE");
  return text ? text : "";
}

}  // namespace

const Generated* Code::use(const Graph& g, const Plan& plan) {
  if (const Generated* ready = ready_.load(std::memory_order_acquire)) return ready;
  if (hopeless_.load(std::memory_order_relaxed)) return nullptr;
  const int64_t uses = uses_.fetch_add(1, std::memory_order_relaxed) + 1;
  int64_t wanted = wanted_.load(std::memory_order_relaxed);
  if (wanted == 0) {
    const std::string_view mode = native_mode();
    const double gain = mode == "0" ? 0 : saves(g, plan);  // 0: there will be none, which is soon said
    wanted = mode == "wait" ? 1 : gain > 0 ? std::max(kUses, static_cast<int64_t>(kSaved / gain)) : kUses;
    wanted_.store(wanted, std::memory_order_relaxed);
  }
  if (uses < wanted) return nullptr;
  const std::unique_lock lock(mutex_, std::try_to_lock);  // who comes second does not wait
  return lock ? ask(g, plan) : nullptr;
}

const Generated* Code::ask(const Graph& g, const Plan& plan) {
  if (ready_ || hopeless_) return ready_;
  if (!native_) {
    const std::string_view mode = native_mode();
    if (mode != "0") generated_ = generate(g, plan);
    if (generated_.text.empty()) {
      hopeless_ = true;
      return nullptr;
    }
    if (debug_level() >= 3) debug(3, "generated code:\n" + generated_.loops);
    native_ = make_native(std::move(generated_.text));
    if (mode == "wait") native_->wait();
  }
  const Native::State state = native_->state();
  if (state == Native::State::building) return nullptr;
  if (state == Native::State::failed) {
    hopeless_ = true;
    debug(1, "no generated code: " + native_->why());
    return nullptr;
  }
  for (size_t i = 0; i < generated_.groups.size(); ++i)
    for (size_t k = 0; k < generated_.groups[i].size(); ++k) {
      auto& run = generated_.groups[i][k].run;
      run = reinterpret_cast<cpu::FusedSegment::Run>(
          native_->symbol(Generated::name(generated_.functions[i][k]).c_str()));
      WEFT_ASSERT(run != nullptr, "generated code lacks function {}", generated_.functions[i][k]);
    }
  debug(2, "generated code is ready");
  since_ = std::chrono::steady_clock::now();
  ready_.store(&generated_, std::memory_order_release);
  return &generated_;
}

bool Code::building() const {
  std::lock_guard lock(mutex_);
  return native_ && !ready_ && !hopeless_;
}

std::optional<std::chrono::steady_clock::time_point> Code::in_use_since() const {
  if (!ready_.load(std::memory_order_acquire)) return std::nullopt;
  return since_;
}

std::string Code::describe() const {
  std::lock_guard lock(mutex_);
  if (!native_) return {};
  const Native::State state = native_->state();
  const std::string what = detail::format("{} of {} fused kernels in {} loops",
                                          {generated_.with_code, generated_.fused, generated_.function_count});
  if (state == Native::State::failed) return "generated code for " + what + " failed: " + native_->why();
  return "generated code for " + what + (state == Native::State::building ? ": being built" : "");
}

}  // namespace weft::graph
