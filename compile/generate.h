#pragma once
#include <string>
#include <vector>

#include "compile/plan.h"

// C++ of the pointwise groups of a plan. Neighbouring light steps of a group become one loop that reads what it needs,
// keeps values in registers and writes what leaves it; a heavy step, or what cannot be said, runs by its own kernel
// between such loops, tile by tile (core/fused.h). Every line calls the function of a record, whose text comes along,
// so that the bits are those of the kernels. Sizes and numbers come with each call: alike loops are one function.
namespace weft::graph {

struct Generated {
  std::string text;   ///< a translation unit that includes nothing; empty: there is nothing to gain
  std::string loops;  ///< the functions in it
  /// By pointwise group or part of a group, in the order of the plan's runs: the loops, whose `run` is not set.
  std::vector<std::vector<cpu::FusedSegment>> groups;
  std::vector<std::vector<int>> functions;  ///< of the loops: their numbers, see name()
  std::vector<int> group_of;                ///< by run: its first group; -1: none
  int function_count = 0;
  /// The groups of run `r`, for run_fused() and run_rows(); `g` may be null: none.
  static std::span<const std::vector<cpu::FusedSegment>> of(const Generated* g, size_t r) {
    if (!g || g->group_of[r] < 0) return {};
    return std::span(g->groups).subspan(static_cast<size_t>(g->group_of[r]));
  }
  size_t fused = 0, with_code = 0;  ///< fused runs, and how many of them have loops
  static std::string name(int function) { return "weft_loop_" + std::to_string(function); }
};

/// Functions in one text. What needs more stays without.
inline constexpr int kMostFunctions = 200;

Generated generate(const Graph& g, const Plan& plan);

}  // namespace weft::graph
