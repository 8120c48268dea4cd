#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "tools/weft/report.h"

namespace weft::demo {

/// "3,120", "0.95", "12:05", "1:02:03".
std::string with_commas(double v);
std::string clock_text(double seconds);
/// 0x1.2p3 as people write it: "0.001", "9.5e-04".
std::string rate_text(double v);

/// What a run tells while it trains: on a terminal a bar that is redrawn, above it a line per validation; otherwise a
/// line per validation and one at least every few seconds.
class Progress {
 public:
  /// `first`: steps done before. `unit`: "tokens". Quiet: prints nothing.
  Progress(int64_t first, int64_t steps, std::string unit, bool quiet);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// After every step. `speed`: units per second.
  void step(const LossRow& row, double lr, double speed, double seconds_per_step);
  /// Takes the bar away, for other output.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const LossRow& row, double speed, double left);

  int64_t first_, steps_;
  std::string unit_;
  bool quiet_, terminal_, shown_ = false;
  Clock::time_point last_{};
};

}  // namespace weft::demo
