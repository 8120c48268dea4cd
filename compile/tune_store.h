#pragma once
#include <optional>
#include <string>
#include <vector>

#include "compile/tune.h"

namespace weft::graph {

/// What was chosen for one kind of kernel or one recording, and least times in microseconds: as it was, and as chosen.
struct Tuned {
  Choice choice;
  double was = 0, now = 0;
  bool other = false;  ///< of two plans, the other one (plan_choice.h)
};

/// What choices depend on beside the kernels: weft's version and the CPU.
std::string tuning_key();
/// From the folder of compiled kernels; nothing when it holds none for `key`, or none of `count` kinds that make sense.
std::optional<std::vector<Tuned>> find_tuned(const std::string& key, size_t count);
/// Where it cannot be kept, it is not.
void keep_tuned(const std::string& key, const std::vector<Tuned>& tuned);

}  // namespace weft::graph
