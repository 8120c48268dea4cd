#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "data/source.h"
#include "data/worker.h"

// What drives a loader, without the types of its samples: threads that make the batches of one iteration, in an order
// that does not depend on them, and the consumer that takes them.
namespace weft::data::detail {

using Clock = std::chrono::steady_clock;

struct PipelineOptions {
  int workers = 0;
  int64_t depth = 2;  ///< batches made ahead at most
  int64_t bytes = 0;  ///< bytes of batches made ahead at most; 0: no bound
  bool ordered = true;
  double timeout = 0;  ///< seconds; 0: for ever
  uint64_t seed = 0;
  int64_t epoch = 0;
  int64_t first = 0;             ///< the batch to begin with
  std::set<int64_t> ahead = {};  ///< later ones that are to be left out
};

/// One iteration over an epoch. Owned by the consumer and by every worker that is still inside of it, so that one that
/// never returns harms nobody.
class Pipeline {
 public:
  Pipeline(std::shared_ptr<Source> source, const PipelineOptions& options);

  // ---- the consumer
  /// The next batch; null at the end. Throws what the dataset threw, and weft::Error after `timeout` seconds.
  std::shared_ptr<void> next();
  /// Nothing more is wanted: workers stop at their next sample, and what waits on the stop token is woken.
  void stop();
  const std::optional<WorkerFailure>& failure() const { return failure_; }
  /// Batches of the epoch that were handed out, up to the first that was not, and those beyond it.
  int64_t delivered() const { return delivered_; }
  const std::set<int64_t>& ahead() const { return ahead_; }

  // ---- a worker
  /// Makes batches until there are none.
  void work(int worker);
  /// worker_init threw.
  void fail(int worker, std::exception_ptr error);
  std::stop_token stop_token() const { return stop_.get_token(); }

 private:
  struct Made {
    std::shared_ptr<void> batch;
    int64_t bytes = 0;
    std::exception_ptr error;
    WorkerFailure where;
  };
  struct Seat {  ///< what a worker does now
    std::atomic<int64_t> sample{-1};
    std::atomic<int64_t> batch{-1};
    std::atomic<int64_t> since{0};  ///< Clock, ns
  };

  std::optional<Task> take(int worker);
  bool pull(Task& task, int worker, bool skip, std::unique_lock<std::mutex>& lock);
  bool may_take() const;
  bool taken_all() const;
  bool is_ready() const;
  bool left_out(int64_t number) const;
  Seat& seat(int worker) const { return seats_[worker < 0 ? 0 : worker]; }
  Made failed(int64_t number, int worker) const;
  void make(Task& task, int worker);
  std::shared_ptr<void> hand_out(std::unique_lock<std::mutex>& lock);
  [[noreturn]] void fail_timeout(std::unique_lock<std::mutex>& lock) const;

  const std::shared_ptr<Source> source_;
  const PipelineOptions options_;
  const bool streams_;
  std::stop_source stop_;
  std::unique_ptr<Seat[]> seats_;

  mutable std::mutex mutex_;
  std::condition_variable work_, ready_;
  std::map<int64_t, Made> made_;  ///< by number
  std::set<int64_t> making_;
  int64_t made_bytes_ = 0, largest_ = 0;
  int64_t next_ = 0;  ///< the next batch to be taken by a worker
  bool pulling_ = false, ended_ = false, stopped_ = false;
  std::optional<Made> broken_;  ///< worker_init threw

  // The consumer's own.
  std::optional<WorkerFailure> failure_;
  int64_t delivered_ = 0;
  std::set<int64_t> ahead_;
};

/// Threads that work for one Pipeline at a time.
class Crew {
 public:
  Crew(int workers, std::function<void(int)> init, double patience);
  /// Waits up to `patience` seconds for calls of the dataset that run; threads that are still inside of one then are
  /// left behind, and end with it.
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  void begin(std::shared_ptr<Pipeline> pipeline);
  /// Whether all threads have left their pipeline within `seconds`.
  bool rest(double seconds);
  int workers() const { return static_cast<int>(threads_.size()); }

 private:
  struct State;
  static void serve(const std::shared_ptr<State>& state, int worker);

  std::shared_ptr<State> state_;
  std::vector<std::thread> threads_;
  double patience_;
};

}  // namespace weft::data::detail
