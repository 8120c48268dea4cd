#pragma once
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "compile/contest.h"
#include "compile/plan.h"

// CompileMode::max_autotune: what a plan's fused kernels can do in several ways with the same bits is timed in the
// plan's own runs, way after way, until one is chosen: generated code or the loops of the ops, how many elements go
// through a group together, how many a thread takes, how many rows go at a time. Kernels that are alike are timed
// together. What was chosen is kept on disk beside compiled kernels, for the same CPU, number of threads and kernels.
namespace weft::graph {

struct Generated;
struct TunedPlan;

/// How a fused run is done.
struct Choice {
  cpu::FusedCut cut;
  bool records = false;  ///< by the loops of the ops, though there is generated code
  friend bool operator==(const Choice&, const Choice&) = default;
  /// "tile 1024, loops of the ops"; "as it is".
  std::string str() const;
};

/// What WEFT_TUNE says, for tests and for whoever looks for a fault: "off", or a way for all fused kernels, as
/// "tile=256,grain=8192,block=2,records" or a part of it, and then nothing is timed. Empty: nothing. Throws for others.
struct ToldChoice {
  bool off = false;
  std::optional<Choice> choice;
  static ToldChoice parse(const std::string& text);
};

/// Of one plan. Any thread may use it.
class Tuner {
 public:
  /// Reads WEFT_TUNE.
  Tuner();
  /// Whether WEFT_TUNE leaves something to choose.
  bool chooses() const { return !told_.off && !told_.choice; }
  /// Runs of the plan that were timed.
  int64_t timed() const;
  /// For report(): lines; "" when there is nothing to say.
  std::string describe() const;

  /// One run of the plan. `tuner` may be null: everything as it is. `code`: what Code::use() said.
  class Session {
   public:
    Session(Tuner* tuner, const Graph& g, const Plan& plan, const Generated* code);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    /// How fused run `r`, which begins now, is done.
    const Choice& begin(size_t r);
    /// It has ended.
    void end(size_t r) {
      if (state_) [[unlikely]]
        take_time(r);
    }
    /// All have. Times of a plan that does not come here do not count.
    void finish();

   private:
    using Clock = std::chrono::steady_clock;
    void take_time(size_t r);

    Tuner* tuner_;
    const Choice* choices_ = nullptr;  ///< by run; null: as it is
    // While it is timed.
    TunedPlan* state_ = nullptr;
    std::vector<Choice> own_;  ///< by run
    struct Way {
      int stage;
      size_t way;
      double us;
    };
    std::vector<Way> ways_;  ///< by kind of kernel
    Clock::time_point begun_;
  };

 private:
  TunedPlan& state(int threads, const Graph& g, const Plan& plan, const Generated* code);  // mutex_ held

  const ToldChoice told_;
  std::atomic<const TunedPlan*> settled_ = nullptr;  ///< of the number of threads that was asked for last
  mutable std::mutex mutex_;
  std::map<int, std::shared_ptr<TunedPlan>> states_;  ///< by number of threads
};

}  // namespace weft::graph
