#include "profiler/profiler.h"

#include <atomic>
#include <fstream>
#include <utility>

#include "core/error.h"
#include "profiler/recorder.h"

namespace weft::profiler {
namespace {

std::atomic<bool> one_runs{false};

void write_file(const std::string& path, const std::string& text, const char* op) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  WEFT_CHECK_FILE(file.good(), "{}: cannot write '{}'; is there such a folder, and space?", op, path);
}

bool records(Action a) { return a == Action::record || a == Action::record_and_save; }

}  // namespace

std::string_view name(EventKind kind) {
  constexpr std::string_view names[] = {"op", "view", "backward", "module", "range", "kernel"};
  return names[static_cast<int>(kind)];
}

Schedule schedule(ScheduleOptions o) {
  WEFT_CHECK(o.wait >= 0 && o.warmup >= 0 && o.repeat >= 0 && o.skip_first >= 0 && o.active >= 1,
             "schedule: counts of steps must not be negative and active at least 1; got wait {}, warmup {}, active {}, "
             "repeat {}, skip_first {}",
             o.wait, o.warmup, o.active, o.repeat, o.skip_first);
  return [o](int64_t step) {
    if (step < o.skip_first) return Action::none;
    step -= o.skip_first;
    const int64_t cycle = o.wait + o.warmup + o.active;
    if (o.repeat > 0 && step / cycle >= o.repeat) return Action::none;
    const int64_t at = step % cycle;
    if (at < o.wait) return Action::none;
    if (at < o.wait + o.warmup) return Action::warmup;
    return at + 1 < cycle ? Action::record : Action::record_and_save;
  };
}

Profiler::Profiler(ProfilerOptions o) : options_(std::move(o)) {
  WEFT_CHECK(options_.max_events >= 1, "profiler: max_events is {}; at least 1 is needed", options_.max_events);
}
Profiler::~Profiler() {
  try {
    stop();
  } catch (const std::exception&) {  // a destructor cannot pass it on
  }
}

void Profiler::begin_recording() {
  recorder::begin({.shapes = options_.record_shapes,
                   .memory = options_.profile_memory,
                   .stack = options_.with_stack,
                   .cuda = options_.cuda,
                   .max_events = options_.max_events});
}

void Profiler::end_recording(bool keep) {
  recorder::Recording r = recorder::end();
  if (!keep) return;
  events_ = std::move(r.events);
  device_events_ = std::move(r.device_events);
  device_times_ = std::move(r.device_times);
  thread_ids_ = std::move(r.thread_ids);
  dropped_ = r.dropped;
}

void Profiler::enter(Action next) {
  const bool again = action_ == Action::warmup && records(next);
  if (next != Action::none && (action_ == Action::none || again)) begin_recording();
  action_ = next;
  if (!records(next) || !options_.schedule) return;
  if (const auto* hooks = detail::profile_hooks.load(std::memory_order_acquire)) {
    const std::string label = "ProfilerStep#" + std::to_string(step_);
    step_token_ = hooks->begin({.kind = detail::ProfileKind::range, .name = label});
  }
}

void Profiler::start() {
  WEFT_CHECK(!running_ && !one_runs.exchange(true), "profiler: one runs already; stop it first");
  running_ = true;
  step_ = 0;
  action_ = Action::none;
  try {
    enter(options_.schedule ? options_.schedule(0) : Action::record);
  } catch (...) {  // no device to take times of
    running_ = false;
    one_runs = false;
    throw;
  }
}

void Profiler::step() {
  WEFT_CHECK(running_, "profiler: step() while it does not run; call start() first");
  ++step_;
  if (!options_.schedule) return;
  const Action next = options_.schedule(step_);
  if (step_token_)
    if (const auto* hooks = detail::profile_hooks.load(std::memory_order_acquire)) hooks->end(step_token_);
  step_token_ = 0;
  const bool over = action_ == Action::record_and_save || (action_ != Action::none && next == Action::none) ||
                    (action_ == Action::record && next == Action::warmup);
  if (over) {
    const bool keep = records(std::exchange(action_, Action::none));
    end_recording(keep);
    if (keep && options_.on_trace_ready) options_.on_trace_ready(*this);
  }
  enter(next);
}

void Profiler::stop() {
  if (!running_) return;
  running_ = false;
  step_token_ = 0;
  const Action last = std::exchange(action_, Action::none);
  if (last != Action::none) end_recording(records(last));
  one_runs = false;
  if (records(last) && options_.on_trace_ready) options_.on_trace_ready(*this);
}

void Profiler::export_chrome_trace(const std::string& path) const {
  write_file(path, chrome_trace(), "export_chrome_trace");
}
void Profiler::export_html(const std::string& path, std::string_view title) const {
  write_file(path, html(title), "export_html");
}

}  // namespace weft::profiler
