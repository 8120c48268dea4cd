#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "compile/contest.h"
#include "compile/plan.h"

namespace weft::graph {

/// CompileMode::max_autotune: a plan, and another of the same recording that differs in groups of rows (row_group.h):
/// taken apart, or made where they are not expected to pay. Runs go one way and the other until one is chosen; only
/// then the kernels of that one are tuned (tune.h). Any thread may use it.
class PlanChoice {
 public:
  explicit PlanChoice(std::shared_ptr<const Plan> other) : other_(std::move(other)) {}
  const std::shared_ptr<const Plan>& other() const { return other_; }
  /// Nothing is chosen yet.
  bool open() const { return decided_.load(std::memory_order_relaxed) < 0; }
  /// The other one was chosen, for the number of threads that was asked for last.
  bool chose_other() const;
  int64_t timed() const;
  /// For report(): a line.
  std::string describe() const;

  /// One run of the recording.
  class Session {
   public:
    Session(const Graph& recorded, const Plan& plan);
    /// What this run is to be.
    const Plan& plan() const { return other_ ? *choice_->other_ : plan_; }
    bool other() const { return other_; }
    bool decided() const { return !times_; }
    /// It has ended as it should.
    void finish() {
      if (times_) [[unlikely]]
        add_time();
    }

   private:
    void add_time();
    const Graph& recorded_;
    const Plan& plan_;
    PlanChoice* const choice_;
    bool other_ = false, times_ = false;
    int threads_ = 0;
    std::chrono::steady_clock::time_point begun_;
  };

 private:
  void restart(int threads, const Graph& recorded, const Plan& plan);  // mutex_ held

  const std::shared_ptr<const Plan> other_;
  std::atomic<int> decided_ = -1;  ///< 2 * number of threads + which
  mutable std::mutex mutex_;
  int threads_ = 0;
  Contest contest_{2};
  std::string key_;
  bool kept_ = false;
  double was_ = 0, now_ = 0;
  int64_t runs_ = 0;
};

}  // namespace weft::graph
