#include "data/loading/pipeline.h"

#include <algorithm>
#include <stdexcept>
#include <typeinfo>
#include <utility>

#include "core/error.h"
#include "core/ops/philox.h"
#include "core/thread_state.h"

namespace weft::data {
namespace {

constinit thread_local const WorkerInfo* tls_info = nullptr;

/// An exception of the class it was, which tells where it happened.
template <class E>
struct Located : E, WorkerFailure {
  Located(const std::string& text, const WorkerFailure& where) : E(text), WorkerFailure(where) {}
};

std::string describe(const WorkerFailure& w) {
  std::string text = w.sample >= 0 ? "sample " + std::to_string(w.sample) + ", " : "";
  text += "batch " + std::to_string(w.batch) + " of epoch " + std::to_string(w.epoch);
  return text + (w.worker >= 0 ? ", worker " + std::to_string(w.worker) : "");
}

template <class... E>
struct Classes {};
// A class derived from one of these cannot be rebuilt with another text, and stays as it is.
using KnownClasses = Classes<Error, IndexError, TypeError, FileError, CompileError, InternalError, std::runtime_error,
                             std::range_error, std::overflow_error, std::underflow_error, std::logic_error,
                             std::invalid_argument, std::domain_error, std::length_error, std::out_of_range>;

template <class E>
bool locate_as(const std::exception& e, const WorkerFailure& where, std::exception_ptr& out) {
  if (typeid(e) != typeid(E)) return false;
  out = std::make_exception_ptr(Located<E>(std::string(e.what()) + " [DataLoader: " + describe(where) + "]", where));
  return true;
}

std::exception_ptr locate(std::exception_ptr error, const WorkerFailure& where) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    [&]<class... E>(Classes<E...>) { (locate_as<E>(e, where, error) || ...); }(KnownClasses());
  } catch (...) {
  }
  return error;
}

int64_t nanoseconds_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(detail::Clock::now().time_since_epoch()).count();
}

}  // namespace

const WorkerInfo* get_worker_info() { return tls_info; }

namespace detail {

WorkerScope::WorkerScope(const WorkerInfo* info) : before_(std::exchange(tls_info, info)) {}
WorkerScope::~WorkerScope() { tls_info = before_; }

uint64_t derive_seed(uint64_t seed, int64_t epoch, Purpose purpose, int64_t index) {
  const rng::Words words = rng::philox(seed, static_cast<uint64_t>(epoch),
                                       static_cast<uint64_t>(index) << 2 | static_cast<uint64_t>(purpose));
  return uint64_t{words.w[0]} << 32 | words.w[1];
}

Pipeline::Pipeline(std::shared_ptr<Source> source, const PipelineOptions& options)
    : source_(std::move(source)),
      options_(options),
      streams_(source_->streams()),
      seats_(new Seat[static_cast<size_t>(std::max(options.workers, 1))]),
      next_(streams_ ? 0 : options.first),  // a stream is read from its beginning
      delivered_(options.first),
      ahead_(options.ahead) {}

bool Pipeline::left_out(int64_t number) const { return number < options_.first || options_.ahead.contains(number); }

bool Pipeline::taken_all() const { return streams_ ? ended_ : next_ >= source_->batches(); }

bool Pipeline::may_take() const {
  if (pulling_) return false;
  const auto waiting = static_cast<int64_t>(made_.size() + making_.size());
  // Batches are taken in order: when nothing waits, the next one is what the consumer needs, whatever its size.
  if (waiting == 0 || left_out(next_)) return true;
  if (waiting >= options_.depth) return false;
  return options_.bytes == 0 || made_bytes_ + (static_cast<int64_t>(making_.size()) + 1) * largest_ <= options_.bytes;
}

bool Pipeline::is_ready() const {
  if (broken_) return true;
  if (made_.empty()) return making_.empty() && taken_all();
  return !options_.ordered || making_.empty() || made_.begin()->first < *making_.begin();
}

Pipeline::Made Pipeline::failed(int64_t number, int worker) const {
  Made made;
  made.where = {seat(worker).sample.load(), number, worker, options_.epoch};
  made.error = locate(std::current_exception(), made.where);
  return made;
}

// With the lock held, but not while the dataset is asked. False: the stream has ended.
bool Pipeline::pull(Task& task, int worker, bool skip, std::unique_lock<std::mutex>& lock) {
  pulling_ = true;
  lock.unlock();
  bool got = false;
  Made error;
  try {
    got = source_->pull(task, skip);
  } catch (...) {
    error = failed(task.number, worker);
  }
  lock.lock();
  pulling_ = false;
  work_.notify_all();
  if (got) return true;
  ended_ = true;
  making_.erase(task.number);
  if (error.error && !stopped_) made_.emplace(task.number, std::move(error));
  ready_.notify_all();
  return false;
}

std::optional<Task> Pipeline::take(int worker) {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [&] { return stopped_ || taken_all() || may_take(); });
    if (stopped_ || taken_all()) return std::nullopt;
    Task task;
    task.number = next_++;
    task.sample = &seat(worker).sample;
    task.sample->store(-1);
    const bool skip = left_out(task.number);
    if (!skip) making_.insert(task.number);
    seat(worker).since.store(nanoseconds_now());
    seat(worker).batch.store(task.number);
    if (streams_ && !pull(task, worker, skip, lock)) return std::nullopt;
    if (skip) continue;
    lock.unlock();
    if (!streams_) source_->indices(task.number, task.indices);
    return task;
  }
}

void Pipeline::make(Task& task, int worker) {
  Made made;
  try {
    made.batch = source_->make(task);
    if (made.batch) made.bytes = source_->bytes(made.batch.get());
  } catch (...) {
    made = failed(task.number, worker);
  }
  made.where.batch = task.number;
  task = {};
  std::lock_guard lock(mutex_);
  seat(worker).batch.store(-1);
  making_.erase(made.where.batch);
  if (stopped_) return;
  made_bytes_ += made.bytes;
  largest_ = std::max(largest_, made.bytes);
  const int64_t number = made.where.batch;
  made_.emplace(number, std::move(made));
  ready_.notify_one();
}

void Pipeline::work(int worker) {
  const WorkerInfo info{worker, options_.workers, options_.seed, options_.epoch, stop_.get_token()};
  const WorkerScope scope(&info);
  try {
    while (std::optional<Task> task = take(worker)) make(*task, worker);
  } catch (...) {  // no memory for the books: the consumer must not wait for ever
    fail(worker, std::current_exception());
  }
}

void Pipeline::fail(int worker, std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  Made made;
  made.where = {-1, next_, worker, options_.epoch};
  made.error = locate(std::move(error), made.where);
  if (!broken_) broken_ = std::move(made);
  ready_.notify_all();
}

std::shared_ptr<void> Pipeline::hand_out(std::unique_lock<std::mutex>& lock) {
  Made made;
  if (broken_) {
    made = *broken_;
  } else if (made_.empty()) {
    return nullptr;
  } else {
    auto first = made_.extract(made_.begin());
    made = std::move(first.mapped());
    made_bytes_ -= made.bytes;
    work_.notify_all();
  }
  lock.unlock();
  if (made.error) {
    failure_ = made.where;
    std::rethrow_exception(std::move(made.error));
  }
  ahead_.insert(made.where.batch);
  while (ahead_.erase(delivered_) > 0) ++delivered_;
  return std::move(made.batch);
}

std::shared_ptr<void> Pipeline::next() {
  if (options_.workers == 0) {
    // Samples are made as a worker would make them, whatever guards the caller holds.
    const weft::detail::ThreadState before = weft::detail::thread_state;
    struct Restore {
      const weft::detail::ThreadState& state;
      ~Restore() { weft::detail::thread_state = state; }
    } restore{before};
    weft::detail::thread_state = {.grad_mode = false, .default_device = {}, .deferral = before.deferral};
    if (!stopped_)
      if (std::optional<Task> task = take(-1)) make(*task, -1);
    std::unique_lock lock(mutex_);
    return hand_out(lock);
  }
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return stopped_ || is_ready(); };
  if (options_.timeout <= 0) {
    ready_.wait(lock, ready);
  } else if (!ready_.wait_for(lock, std::chrono::duration<double>(options_.timeout), ready)) {
    fail_timeout(lock);
  }
  return hand_out(lock);
}

void Pipeline::fail_timeout(std::unique_lock<std::mutex>& lock) const {
  lock.unlock();
  std::string busy;
  for (int worker = 0; worker < options_.workers; ++worker) {
    const Seat& s = seat(worker);
    const int64_t batch = s.batch.load(), sample = s.sample.load();
    if (batch < 0) continue;
    busy += (busy.empty() ? "worker " : ", worker ") + std::to_string(worker) + " is in " +
            (sample >= 0 ? "sample " + std::to_string(sample) + " of batch " : "batch ") + std::to_string(batch) +
            " since " + std::to_string((nanoseconds_now() - s.since.load()) / 1000000) + " ms";
  }
  WEFT_FAIL("DataLoader: no batch within the timeout of {} s (epoch {}); {}; give a longer `timeout` or more workers",
            options_.timeout, options_.epoch, busy.empty() ? "no worker is inside the dataset" : busy);
}

void Pipeline::stop() {
  std::map<int64_t, Made> dropped;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    made_bytes_ = 0;
    dropped.swap(made_);
    work_.notify_all();
    ready_.notify_all();
  }
  stop_.request_stop();
}

}  // namespace detail
}  // namespace weft::data
