#pragma once
#include <cstddef>
#include <vector>

namespace weft::graph {

/// Which of a few ways to do the same is the fastest, from times of runs that were wanted anyway, on a machine that
/// others use too. Way 0 stays unless another is faster by kMargin both in its least and in its middle time.
class Contest {
 public:
  static constexpr size_t kFirst = 2;      ///< times of each way, after which slow ones are out
  static constexpr size_t kEnough = 5;     ///< times of each that is left
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
  double middle(size_t way) const;

  std::vector<std::vector<double>> times_;  ///< by way
  std::vector<char> out_;
};

}  // namespace weft::graph
