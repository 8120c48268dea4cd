#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/dims.h"
#include "core/dtype.h"
#include "core/profile.h"

// Where the time and the memory go (torch.profiler): ops, backward nodes, modules and named ranges, of all threads.
//
//   profiler::Profiler p({.record_shapes = true, .schedule = profiler::schedule({.wait = 2, .warmup = 1, .active =
//   3})}); p.start(); for (auto [x, y] : loader) { train(x, y); p.step(); } p.stop(); fmt::print("{}",
//   p.key_averages().table({.sort_by = "self_cpu_time_total", .row_limit = 20})); p.export_chrome_trace("trace.json");
//   // opens in Perfetto and chrome://tracing
namespace weft::profiler {

enum class EventKind : uint8_t { op, view, backward, module, range, kernel };
/// "op", "view", ...
std::string_view name(EventKind kind);

/// One input of an op. Not defined: an optional input that was not given.
struct Input {
  bool defined = false;
  DType dtype = DType::f32;
  Dims sizes;
};

struct Event {
  std::string name;  ///< "matmul", "add_" (in place), "matmul (backward)", "nn.Module: Linear", or that of a range
  EventKind kind = EventKind::op;
  int thread = 0;           ///< 0, 1, ... in the order of their first event
  int64_t parent = -1;      ///< index of the event around it on its thread; -1: none
  int depth = 0;            ///< events around it
  int64_t start_ns = 0;     ///< since the recording began
  int64_t duration_ns = 0;  ///< what was still running at the end of the recording is cut there
  int64_t self_ns = 0;      ///< duration without that of the events directly inside
  int64_t memory = 0;  ///< profile_memory: bytes of tensors allocated minus freed meanwhile by its thread, on the host
  int64_t self_memory = 0;  ///< the same without the events inside
  int64_t live = 0;         ///< profile_memory: allocated minus freed by all since the recording began, at its end
  int64_t cuda_ns = 0, self_cuda_ns = 0;          ///< cuda: of the work that it launched on devices
  int64_t cuda_memory = 0, self_cuda_memory = 0;  ///< profile_memory: as `memory`, on devices
  std::vector<Input> inputs;                      ///< record_shapes
  std::string module;    ///< "Gpt.blocks.0.qkv": nn::Layer, nn::ModuleScope; of backward nodes, that of the op
  int64_t forward = -1;  ///< backward: index of the op that recorded the node, when that was recorded too
  std::vector<std::string> stack;  ///< with_stack: functions that called, the innermost first
};

/// A kernel, copy or fill as a device ran it (ProfilerOptions::cuda).
struct DeviceEvent {
  std::string name;           ///< of the kernel; where single kernels are not seen (device_times()), of the op
  std::string_view category;  ///< "kernel", "gpu_memcpy", "gpu_memset", "gpu_op"
  int device = 0, stream = 0;
  int64_t start_ns = 0, duration_ns = 0;  ///< as Event's
  int64_t event = -1;                     ///< index of the event that launched it; -1: none that was recorded
};

/// What a step is for. `record_and_save` is the last one of a recording.
enum class Action : uint8_t { none, warmup, record, record_and_save };
/// From the step number (0, 1, ...).
using Schedule = std::function<Action(int64_t step)>;
struct ScheduleOptions {
  int64_t wait = 0;    ///< steps that run as if there was no profiler
  int64_t warmup = 0;  ///< recorded and thrown away
  int64_t active = 1;  ///< recorded
  int64_t repeat = 0;  ///< how many cycles of these three; 0: without end
  int64_t skip_first = 0;
};
/// Cycles of wait, warmup and active steps (torch.profiler.schedule). Errors: negative counts, active < 1.
Schedule schedule(ScheduleOptions o);

struct AveragesOptions {
  bool group_by_input_shape = false;  ///< needs record_shapes
  bool group_by_module = false;
  int group_by_stack_n = 0;  ///< by the first n functions of the call site; needs with_stack
};

/// Events of one name added up.
struct Average {
  std::string key, input_shapes, module, stack;  ///< the last three: "" unless grouped by
  EventKind kind = EventKind::op;
  int64_t count = 0;
  int64_t cpu_time_total_ns = 0;  ///< an event inside one of the same row is not counted twice
  int64_t self_cpu_time_total_ns = 0;
  int64_t cpu_memory_usage = 0, self_cpu_memory_usage = 0;  ///< bytes
  int64_t cuda_time_total_ns = 0, self_cuda_time_total_ns = 0;
  int64_t cuda_memory_usage = 0, self_cuda_memory_usage = 0;
};

struct TableOptions {
  /// "self_cpu_time_total", "cpu_time_total", "cpu_time" (the mean), "count", "cpu_memory_usage",
  /// "self_cpu_memory_usage", and the same with cuda, the largest first; "": in the order of appearance. Error: another
  /// name.
  std::string_view sort_by = "self_cpu_time_total";
  int64_t row_limit = 100;  ///< -1: all
  int max_name_column_width = 55, max_shapes_column_width = 80;
};

struct KeyAverages {
  std::vector<Average> rows;
  bool has_memory = false, has_cuda = false;
  std::string device_times;  ///< Profiler::device_times()
  AveragesOptions grouping;
  int64_t dropped = 0;
  /// PyTorch's table.
  std::string table(const TableOptions& o = {}) const;
  /// Rows by TableOptions::sort_by.
  std::vector<Average> sorted(std::string_view sort_by) const;
};

class Profiler;
struct ProfilerOptions {
  bool record_shapes = false;
  bool profile_memory = false;
  bool with_stack = false;
  bool cuda = false;                 ///< the work of devices too; start() throws where there is none
  profiler::Schedule schedule = {};  ///< none: everything from start() to stop() is one recording
  /// Called by step() or stop() at the end of every recording.
  std::function<void(Profiler&)> on_trace_ready = {};
  int64_t max_events = 500'000;  ///< of one recording; later ones are counted (dropped()) and not kept
};

/// One at a time in a program. It sees every thread; start(), step() and stop() are for one of them.
class Profiler {
 public:
  explicit Profiler(ProfilerOptions o = {});
  /// Stops; an error of on_trace_ready is lost then.
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Error: a profiler runs already.
  void start();
  /// The end of a training step. Error: not running.
  void step();
  /// Nothing when it does not run.
  void stop();

  // ---- of the last recording that ended; none: all are empty
  /// By their start.
  const std::vector<Event>& events() const { return events_; }
  /// By their start.
  const std::vector<DeviceEvent>& device_events() const { return device_events_; }
  /// What took the times of devices: "CUPTI", "events around ops, ..." or "emulation"; empty without.
  const std::string& device_times() const { return device_times_; }
  int64_t dropped() const { return dropped_; }
  int threads() const { return static_cast<int>(thread_ids_.size()); }
  KeyAverages key_averages(const AveragesOptions& o = {}) const;
  /// Chrome's trace format, JSON.
  std::string chrome_trace() const;
  /// FileError when it cannot be written.
  void export_chrome_trace(const std::string& path) const;
  /// One self-contained page: time line, tables by op and by module.
  std::string html(std::string_view title = "weft profile") const;
  void export_html(const std::string& path, std::string_view title = "weft profile") const;

 private:
  void enter(Action next);
  void begin_recording();
  void end_recording(bool keep);

  ProfilerOptions options_;
  bool running_ = false;
  Action action_ = Action::none;
  int64_t step_ = 0;
  uint64_t step_token_ = 0;
  std::vector<Event> events_;
  std::vector<DeviceEvent> device_events_;
  std::string device_times_;
  std::vector<int64_t> thread_ids_;  ///< the system's, by Event::thread
  int64_t dropped_ = 0;
};

/// A profiler that runs from here to the end of the block, or to stop().
struct Profile : Profiler {
  explicit Profile(ProfilerOptions o = {}) : Profiler(std::move(o)) { start(); }
};

/// A named range: `profiler::record_function range("forward");` counts as an event while it lives.
class [[nodiscard]] record_function {
 public:
  explicit record_function(std::string_view name) : scope_({.kind = detail::ProfileKind::range, .name = name}) {}

 private:
  detail::ProfileScope scope_;
};

}  // namespace weft::profiler
