#include "kernels/cuda/emulate/streams.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/cuda/emulate/device_code.h"
#include "kernels/cuda/emulate/memory.h"
#include "kernels/cuda/emulate/profile.h"
#include "kernels/cuda/emulate/settings.h"

namespace weft::gpu::emulate {

struct Point {
  bool done = false;
  std::chrono::steady_clock::time_point when;
};

namespace {
struct Task {
  uint64_t number;  // in the order in which the host put work in
  const char* op;
  std::function<void()> work;
  std::shared_ptr<Point> waits_for, sets;
  uint64_t cause = 0;
  bool noted = false;  // for a profiler
};
}  // namespace

}  // namespace weft::gpu::emulate

struct CUstream_st {
  int device;
  bool blocking, dropped = false;
  std::deque<weft::gpu::emulate::Task> queue;
};

namespace weft::gpu::emulate {
namespace {

constexpr size_t kMostWaiting = 256;  // tasks that the host may be ahead

thread_local bool in_task = false;

class Scheduler {
 public:
  Scheduler() {
    for (int d = 0; d < settings().devices; ++d) streams_.push_back(new CUstream_st{d, true, false, {}});
  }

  std::mutex mutex;
  std::exception_ptr error;

  CUstream_st* resolve(CUstream_st* s) { return s ? s : streams_[size_t(current_device())]; }
  CUstream_st* legacy(int device) { return streams_[size_t(device)]; }
  void add(CUstream_st* s) { streams_.push_back(s); }
  void drop(CUstream_st* s) {
    s->dropped = true;
    remove_if_over(s);
  }

  void put(CUstream_st* stream, Task task) {
    CUstream_st* s = resolve(stream);
    task.number = ++numbers_;
    task.op = detail::running_op;
    if (recording()) [[unlikely]] {
      task.noted = task.work && !unnoted();
      task.cause = current_cause();
    }
    s->queue.push_back(std::move(task));
    ++waiting_;
    if (!settings().lazy)
      run_until([&] { return s->queue.empty(); });
    else if (waiting_ > kMostWaiting || random() % 4 == 0)
      some();
  }

  template <class Done>
  void run_until(const Done& done) {
    if (done()) return;
    const Open open;
    while (!done() && step()) {
    }
  }
  // As much as a device may have done in the meantime.
  void some() {
    const Open open;
    for (uint64_t n = 1 + random() % 4; n > 0 && step(); --n) {
    }
  }
  bool device_idle(int device) const {
    return std::none_of(streams_.begin(), streams_.end(),
                        [&](const CUstream_st* s) { return s->device == device && !s->queue.empty(); });
  }
  bool idle() const { return waiting_ == 0; }

 private:
  uint64_t random() {
    if (settings().seed != seed_) state_ = seed_ = settings().seed;
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }

  bool ready(const CUstream_st* s) const {
    const Task& task = s->queue.front();
    if (task.waits_for && !task.waits_for->done) return false;
    if (!s->blocking) return true;
    const bool own_legacy = s == streams_[size_t(s->device)];
    for (const CUstream_st* other : streams_) {
      if (other == s || other->device != s->device || !other->blocking || other->queue.empty()) continue;
      const bool legacy = other == streams_[size_t(s->device)];
      if ((own_legacy || legacy) && other->queue.front().number < task.number) return false;
    }
    return true;
  }

  // Does the next task of a stream that can go on. The task put in first always can.
  bool step() {
    if (waiting_ == 0) return false;
    CUstream_st* chosen = nullptr;
    uint64_t choices = 0;
    for (CUstream_st* s : streams_)
      if (!s->queue.empty() && ready(s) && random() % ++choices == 0) chosen = s;
    Task task = std::move(chosen->queue.front());
    chosen->queue.pop_front();
    --waiting_;
    in_task = true;
    const int64_t start = task.noted ? now_ns() : 0;
    try {
      if (task.work) task.work();
    } catch (const InternalError& e) {
      if (!error) error = std::make_exception_ptr(task.op ? InternalError(std::string(task.op) + ": " + e.what()) : e);
    } catch (...) {
      if (!error) error = std::current_exception();
    }
    in_task = false;
    if (task.noted) note(task.op, chosen->device, chosen, start, task.cause);
    if (task.sets) {
      task.sets->done = true;
      task.sets->when = std::chrono::steady_clock::now();
    }
    remove_if_over(chosen);
    return true;
  }
  void remove_if_over(CUstream_st* s) {
    if (!s->dropped || !s->queue.empty()) return;
    std::erase(streams_, s);
    delete s;
  }

  std::vector<CUstream_st*> streams_;  // the default streams of the devices come first
  uint64_t numbers_ = 0, seed_ = 0, state_ = 0;
  size_t waiting_ = 0;
};

Scheduler& scheduler() {
  static Scheduler* s = new Scheduler;
  return *s;
}

}  // namespace

int& current_device() {
  thread_local int device = 0;
  return device;
}

void put(CUstream_st* stream, std::function<void()> work) {
  WEFT_ASSERT(!in_task, "launch: a kernel cannot start a kernel");
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  s.put(stream, {0, nullptr, std::move(work), nullptr, nullptr, 0, false});
}
void put_wait(CUstream_st* stream, std::shared_ptr<Point> point) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  s.put(stream, {0, nullptr, nullptr, std::move(point), nullptr, 0, false});
}
std::shared_ptr<Point> put_point(CUstream_st* stream) {
  auto point = std::make_shared<Point>();
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  s.put(stream, {0, nullptr, nullptr, nullptr, point, 0, false});
  return point;
}

CUstream_st* make_stream(int device, bool blocking) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  auto* stream = new CUstream_st{device, blocking, false, {}};
  s.add(stream);
  return stream;
}
void drop_stream(CUstream_st* stream) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  s.drop(stream);
}
CUstream_st* stream_or_default(CUstream_st* stream, int device) { return stream ? stream : scheduler().legacy(device); }
int device_of_stream(CUstream_st* stream) { return stream ? stream->device : current_device(); }

void finish(CUstream_st* stream) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  const CUstream_st* own = s.resolve(stream);
  s.run_until([&] { return own->queue.empty(); });
}
void finish_device(int device) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  s.run_until([&] { return s.device_idle(device); });
}
void finish_point(const Point& point) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  s.run_until([&] { return point.done; });
}
void finish_all() {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  s.run_until([&] { return s.idle(); });
}

bool is_finished(CUstream_st* stream) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  const CUstream_st* own = s.resolve(stream);
  if (!own->queue.empty()) s.some();
  return own->queue.empty();
}
bool is_finished(const Point& point) {
  Scheduler& s = scheduler();
  std::lock_guard lock(s.mutex);
  if (!point.done) s.some();
  return point.done;
}
double milliseconds(const Point& from, const Point& to) {
  return std::chrono::duration<double, std::milli>(to.when - from.when).count();
}

void report_errors() {
  Scheduler& s = scheduler();
  std::exception_ptr error;
  {
    std::lock_guard lock(s.mutex);
    error = std::exchange(s.error, nullptr);
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace weft::gpu::emulate
