#pragma once
#include "core/random.h"

namespace weft::detail {

/// While alive, this thread repeats a part of a forward pass that has happened before: default_generator() is a
/// generator of its own that goes on from `start`, the process's stream stays where it is, and running statistics are
/// not updated a second time.
class Recompute {
 public:
  explicit Recompute(const Generator::State& start);
  ~Recompute();
  Recompute(const Recompute&) = delete;
  Recompute& operator=(const Recompute&) = delete;

 private:
  Generator generator_;
  Generator* before_;
};
/// Whether one is alive.
bool is_recomputing();

}  // namespace weft::detail
