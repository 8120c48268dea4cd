#include "profiler/recorder.h"

#include <execinfo.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "core/call_site.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace weft::profiler::recorder {
namespace {

using detail::ProfileCall;
using detail::ProfileHooks;
using detail::ProfileKind;

constexpr int kMostFrames = 24;
constexpr int kFresh = 16;

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Bytes on the host and on devices.
struct Memory {
  int64_t host = 0, device = 0;
  Memory& operator+=(const Memory& o) {
    host += o.host;
    device += o.device;
    return *this;
  }
  friend Memory operator+(Memory a, const Memory& b) { return a += b; }
  Memory operator-() const { return {-host, -device}; }
};

struct Record {
  const std::string* name;
  const std::string* module;  ///< null: none
  ProfileKind kind;
  uint8_t n_in;
  int32_t parent;
  int32_t depth;
  int32_t forward_thread, forward_record;  ///< -1: none
  int64_t start, end, child_ns;
  Memory self_memory{}, child_memory{};
  int64_t live;
  size_t inputs, frames;  ///< where its values begin in the log's pools
  uint8_t n_frames;
};

/// What runs on a thread. Also kept for records that were dropped, so that self times stay right.
struct Running {
  int32_t record;  ///< -1: dropped
  int64_t start, child_ns = 0;
  Memory self_memory{}, child_memory{};
  const std::string* module;
};

struct Log {
  std::mutex mutex;  ///< the thread against the end of the recording
  uint64_t session = 0;
  int32_t index = 0;
  int64_t thread_id = 0;
  bool closed = false;
  Options options{};
  std::vector<Record> records;
  std::vector<int64_t> inputs;  ///< per input: dtype << 8 | dims, or -1 (undefined), then the sizes
  std::vector<void*> frames;
  std::vector<Running> running;
  std::unordered_set<std::string> names;
  // The last allocations, by which an op is charged for outputs that its front end made.
  struct {
    const Storage* storage = nullptr;
    Memory bytes;
  } fresh[kFresh];
  int next_fresh = 0;

  const std::string* intern(std::string_view name) { return &*names.emplace(name).first; }
};

struct Forward {
  int32_t thread, record;
  const std::string* module;
};

/// Never destroyed: threads may end after main().
struct State {
  std::atomic<uint64_t> session{0};  ///< 0: none
  std::atomic<int64_t> count{0}, dropped{0}, live{0};
  std::mutex mutex;  ///< of the rest
  uint64_t last_session = 0;
  Options options{};
  int64_t begin = 0;
  std::vector<std::shared_ptr<Log>> logs;
  std::mutex nodes_mutex;  ///< after a log's
  std::unordered_map<uint64_t, Forward> nodes;
};
State& state() {
  static State* s = new State;
  return *s;
}

constinit thread_local bool thread_ends = false;
struct Mine {
  std::shared_ptr<Log> log;
  ~Mine() { thread_ends = true; }
};
thread_local Mine mine;

Log* current_log() {
  State& s = state();
  const uint64_t session = s.session.load(std::memory_order_acquire);
  if (session == 0 || thread_ends) return nullptr;
  if (mine.log && mine.log->session == session) return mine.log.get();
  std::lock_guard lock(s.mutex);
  if (s.session.load() != session) return nullptr;
  auto log = std::make_shared<Log>();
  log->session = session;
  log->index = static_cast<int32_t>(s.logs.size());
  log->thread_id = static_cast<int64_t>(syscall(SYS_gettid));
  log->options = s.options;
  s.logs.push_back(log);
  mine.log = std::move(log);
  return mine.log.get();
}

void record_inputs(Log& log, const ProfileCall& c) {
  for (int i = 0; i < c.n_in; ++i) {
    if (!c.in[i].defined()) {
      log.inputs.push_back(-1);
      continue;
    }
    const Dims& sizes = c.in[i].sizes();
    log.inputs.push_back(static_cast<int64_t>(c.in[i].dtype()) << 8 | sizes.size());
    log.inputs.insert(log.inputs.end(), sizes.begin(), sizes.end());
  }
}

/// Not "mul_backward": some nodes call an op of that name.
std::string backward_name(std::string_view node) {
  return node.ends_with("grad") || node.ends_with("gradient") ? std::string(node) : std::string(node) + " (backward)";
}

/// Moves the bytes of outputs that the op's front end allocated from what ran around it to the op.
void charge_outputs(Log& log, const ProfileCall& c, Running& op) {
  for (int i = 0; i < c.n_out; ++i) {
    if (!c.out[i].defined()) continue;
    for (auto& f : log.fresh) {
      if (f.storage != c.out[i].impl()->storage) continue;
      op.self_memory += f.bytes;
      if (!log.running.empty()) log.running.back().self_memory += -f.bytes;
      f.storage = nullptr;
    }
  }
}

uint64_t begin_event(const ProfileCall& c) {
  Log* log = current_log();
  if (!log) return 0;
  State& s = state();
  std::lock_guard lock(log->mutex);
  if (log->closed) return 0;
  Running run{.record = -1, .start = 0, .module = log->running.empty() ? nullptr : log->running.back().module};
  Forward forward{-1, -1, nullptr};
  if (c.kind == ProfileKind::backward) {
    std::lock_guard nodes_lock(s.nodes_mutex);
    if (auto it = s.nodes.find(c.sequence); it != s.nodes.end()) {
      forward = it->second;
      if (forward.module) run.module = log->intern(*forward.module);
    }
  } else if (!c.module.empty()) {
    run.module = log->intern(c.module);
  }
  if (log->options.memory) charge_outputs(*log, c, run);
  if (s.count.fetch_add(1, std::memory_order_relaxed) < log->options.max_events) {
    run.record = static_cast<int32_t>(log->records.size());
    int32_t parent = log->running.empty() ? -1 : log->running.back().record;
    Record r{};
    r.name = c.kind == ProfileKind::inplace_op ? log->intern(std::string(c.name) + "_")
             : c.kind == ProfileKind::backward ? log->intern(backward_name(c.name))
                                               : log->intern(c.name);
    r.module = run.module;
    r.kind = c.kind;
    r.parent = parent;
    r.depth = parent < 0 ? 0 : log->records[static_cast<size_t>(parent)].depth + 1;
    r.forward_thread = forward.thread;
    r.forward_record = forward.record;
    r.inputs = log->inputs.size();
    if (log->options.shapes) {
      r.n_in = static_cast<uint8_t>(std::min(c.n_in, 255));
      record_inputs(*log, c);
    }
    r.frames = log->frames.size();
    if (log->options.stack) {
      void* frames[kMostFrames];
      r.n_frames = static_cast<uint8_t>(backtrace(frames, kMostFrames));
      log->frames.insert(log->frames.end(), frames, frames + r.n_frames);
    }
    log->records.push_back(r);
  } else {
    s.dropped.fetch_add(1, std::memory_order_relaxed);
  }
  run.start = now();
  if (run.record >= 0) log->records.back().start = run.start;
  log->running.push_back(run);
  return log->session << 32 | log->running.size();
}

void pop(Log& log, int64_t at) {
  const Running run = log.running.back();
  log.running.pop_back();
  const Memory memory = run.self_memory + run.child_memory;
  if (run.record >= 0) {
    Record& r = log.records[static_cast<size_t>(run.record)];
    r.end = at;
    r.child_ns = run.child_ns;
    r.self_memory = run.self_memory;
    r.child_memory = run.child_memory;
    r.live = state().live.load(std::memory_order_relaxed);
  }
  if (log.running.empty()) return;
  log.running.back().child_ns += at - run.start;
  log.running.back().child_memory += memory;
}

/// The log that `token` is of, if it still records.
void end_event(uint64_t token) {
  const int64_t at = now();
  if (thread_ends || !mine.log) return;
  Log& log = *mine.log;
  if ((log.session << 32) != (token & ~uint64_t{0xffffffff})) return;
  std::lock_guard lock(log.mutex);
  if (log.closed) return;
  while (log.running.size() >= (token & 0xffffffff)) pop(log, at);
}

void made_node(uint64_t sequence) {
  Log* log = current_log();
  if (!log) return;
  State& s = state();
  std::lock_guard lock(log->mutex);
  if (log->closed || log->running.empty() || log->running.back().record < 0) return;
  const Running& run = log->running.back();
  std::lock_guard nodes_lock(s.nodes_mutex);
  s.nodes.insert_or_assign(sequence, Forward{log->index, run.record, run.module});
}

void count_memory(const Storage* storage, bool allocated) {
  Log* log = current_log();
  if (!log) return;
  const int64_t bytes = static_cast<int64_t>(storage->bytes) * (allocated ? 1 : -1);
  std::lock_guard lock(log->mutex);
  if (log->closed || !log->options.memory) return;
  state().live.fetch_add(bytes, std::memory_order_relaxed);
  const Memory where = storage->device.is_cuda() ? Memory{0, bytes} : Memory{bytes, 0};
  if (!log->running.empty()) log->running.back().self_memory += where;
  if (allocated) {
    log->fresh[log->next_fresh] = {storage, where};
    log->next_fresh = (log->next_fresh + 1) % kFresh;
  }
}
/// The event that runs on this thread: its thread and its record, 0 when it has none.
uint64_t current_cause() {
  const Log* log = thread_ends ? nullptr : mine.log.get();
  if (!log || log->session != state().session.load(std::memory_order_acquire) || log->running.empty()) return 0;
  const int32_t record = log->running.back().record;
  return record < 0 ? 0 : static_cast<uint64_t>(log->index + 1) << 32 | static_cast<uint32_t>(record);
}
void allocated(const Storage* s) { count_memory(s, true); }
void freed(const Storage* s) { count_memory(s, false); }
uint64_t session() { return state().session.load(std::memory_order_acquire); }

constexpr ProfileHooks kHooks{&session, &begin_event, &end_event, &made_node, &allocated, &freed};

EventKind kind_of(ProfileKind kind) {
  switch (kind) {
    case ProfileKind::op:
    case ProfileKind::inplace_op:
      return EventKind::op;
    case ProfileKind::view:
      return EventKind::view;
    case ProfileKind::backward:
      return EventKind::backward;
    case ProfileKind::module:
      return EventKind::module;
    case ProfileKind::range:
      break;
  }
  return EventKind::range;
}

/// Names of functions, without those of the profiler itself.
class Stacks {
 public:
  std::vector<std::string> operator()(const Log& log, const Record& r) {
    std::vector<std::string> out;
    for (size_t i = 0; i < r.n_frames; ++i) {
      auto [at, added] = known_.try_emplace(log.frames[r.frames + i]);
      if (added) {
        at->second = detail::describe_frame(at->first);
        if (at->second.find("weft::profiler::recorder::") != std::string::npos) at->second.clear();
      }
      // The profiler's own functions have no exported names and come first.
      if (at->second.empty() || (out.empty() && at->second.find(" +0x") != std::string::npos)) continue;
      out.push_back(at->second);
    }
    return out;
  }

 private:
  std::unordered_map<void*, std::string> known_;
};

std::vector<Input> inputs_of(const Log& log, const Record& r) {
  std::vector<Input> out(r.n_in);
  size_t at = r.inputs;
  for (Input& in : out) {
    const int64_t head = log.inputs[at++];
    if (head < 0) continue;
    in.defined = true;
    in.dtype = static_cast<DType>(head >> 8);
    in.sizes = Dims(&log.inputs[at], static_cast<size_t>(head & 255));
    at += static_cast<size_t>(head & 255);
  }
  return out;
}

}  // namespace

void begin(const Options& o) {
  if (session() != 0) end();
  if (o.cuda) begin_device(&current_cause);
  State& s = state();
  std::lock_guard lock(s.mutex);
  s.options = o;
  s.count = 0;
  s.dropped = 0;
  s.live = 0;
  s.begin = now();
  s.session.store(++s.last_session, std::memory_order_release);
  detail::profile_hooks.store(&kHooks, std::memory_order_release);
}

Recording end() {
  State& s = state();
  std::vector<std::shared_ptr<Log>> logs;
  int64_t zero = 0;
  {
    std::lock_guard lock(s.mutex);
    detail::profile_hooks.store(nullptr, std::memory_order_release);
    s.session.store(0, std::memory_order_release);
    logs.swap(s.logs);
    zero = s.begin;
  }
  Recording out;
  out.dropped = s.dropped;
  std::vector<std::pair<size_t, size_t>> order;  // thread, record
  for (size_t t = 0; t < logs.size(); ++t) {
    Log& log = *logs[t];
    std::lock_guard lock(log.mutex);
    const int64_t at = now();  // here: the thread may have begun something since the hook was taken off
    while (!log.running.empty()) pop(log, at);
    log.closed = true;
    out.thread_ids.push_back(log.thread_id);
    for (size_t i = 0; i < log.records.size(); ++i) order.emplace_back(t, i);
  }
  {
    std::lock_guard lock(s.nodes_mutex);
    s.nodes.clear();
  }
  auto record = [&](const std::pair<size_t, size_t>& at_) -> const Record& {
    return logs[at_.first]->records[at_.second];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](const auto& a, const auto& b) { return record(a).start < record(b).start; });
  std::vector<std::vector<int64_t>> index(logs.size());
  for (size_t t = 0; t < logs.size(); ++t) index[t].resize(logs[t]->records.size());
  for (size_t i = 0; i < order.size(); ++i) index[order[i].first][order[i].second] = static_cast<int64_t>(i);
  Stacks stacks;
  out.events.reserve(order.size());
  for (const auto& where : order) {
    const Log& log = *logs[where.first];
    const Record& r = record(where);
    Event e;
    e.name = *r.name;
    e.kind = kind_of(r.kind);
    e.thread = static_cast<int>(where.first);
    if (r.parent >= 0) e.parent = index[where.first][static_cast<size_t>(r.parent)];
    e.depth = r.depth;
    e.start_ns = r.start - zero;
    e.duration_ns = r.end - r.start;
    e.self_ns = e.duration_ns - r.child_ns;
    e.memory = r.self_memory.host + r.child_memory.host;
    e.self_memory = r.self_memory.host;
    e.cuda_memory = r.self_memory.device + r.child_memory.device;
    e.self_cuda_memory = r.self_memory.device;
    e.live = r.live;
    e.inputs = inputs_of(log, r);
    if (r.module) e.module = *r.module;
    if (r.forward_record >= 0)
      e.forward = index[static_cast<size_t>(r.forward_thread)][static_cast<size_t>(r.forward_record)];
    e.stack = stacks(log, r);
    out.events.push_back(std::move(e));
  }
  end_device(out, zero, [&](uint64_t cause) {
    const size_t thread = (cause >> 32) - 1, at = cause & 0xffffffff;
    return thread < index.size() && at < index[thread].size() ? index[thread][at] : int64_t{-1};
  });
  return out;
}

}  // namespace weft::profiler::recorder
