#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "compile/generate.h"
#include "compile/native.h"

namespace weft::graph {

/// The machine code of a plan's groups. Asked for when the plan runs a second time, or later where the groups are so
/// small that a compiler's time would not come back; until the compiler is done, and where there is none, groups run by
/// the kernels of their ops, with the same bits. Any thread may use it.
/// WEFT_NATIVE=0: never asked for; WEFT_NATIVE=wait: the first run asks for it, and waits.
class Code {
 public:
  /// To be called by each run of the plan. Loops with their code, or null: not there. They live as long as this.
  const Generated* use(const Graph& g, const Plan& plan);
  /// Whether there will never be any.
  bool hopeless() const { return hopeless_.load(std::memory_order_relaxed); }
  bool building() const;
  /// Nothing: it is not in use.
  std::optional<std::chrono::steady_clock::time_point> in_use_since() const;
  /// For report(): what came of it, as a line; "" when nothing was asked for.
  std::string describe() const;

 private:
  const Generated* ask(const Graph& g, const Plan& plan);  // mutex_ held

  std::atomic<const Generated*> ready_ = nullptr;
  std::atomic<int64_t> uses_ = 0;
  std::atomic<int64_t> wanted_ = 0;     ///< uses after which it is asked for; 0: not known yet
  std::atomic<bool> hopeless_ = false;  ///< off, nothing to gain, or failed
  mutable std::mutex mutex_;
  Generated generated_;
  std::shared_ptr<const Native> native_;
  std::chrono::steady_clock::time_point since_;  ///< when ready_
};

}  // namespace weft::graph
