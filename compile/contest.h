#pragma once
#include <cstddef>
#include <vector>

namespace weft::graph {

/// Which of a few ways to do the same is the fastest, from times of runs that were wanted anyway, on a machine that
/// others use too. Such make times longer, never shorter: what counts is the least time of a way, once a second time
/// came close to it. Way 0 stays unless the two least times of another are less than its least by kMargin.
class Contest {
 public:
  static constexpr size_t kFirst = 2;   ///< times of each way, after which slow ones are out
  static constexpr size_t kEnough = 5;  ///< times of each that is left
  static constexpr size_t kMost = 15;   ///< times where none comes close to the least
  static constexpr double kClose = 1.05;
  static constexpr double kOut = 1.15;     ///< slower than the fastest by this
  static constexpr double kMargin = 0.97;  ///< of the time of way 0

  explicit Contest(size_t ways) : times_(ways), out_(ways, 0) {}
  size_t ways() const { return times_.size(); }
  /// The way of the next run: all in turn.
  size_t next() const;
  /// A run in `way` took so many microseconds.
  void add(size_t way, double us);
  bool decided() const;
  /// What it came to, or would now.
  size_t winner() const;
  /// The least time of `way`; 0: none yet.
  double least(size_t way) const;

 private:
  double second(size_t way) const;  ///< the second least
  bool sure(size_t way) const;      ///< second() is close to least()

  std::vector<std::vector<double>> times_;  ///< by way
  std::vector<char> out_;
};

}  // namespace weft::graph
