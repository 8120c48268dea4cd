#pragma once
#include <cstddef>
#include <vector>

#include "compile/plan.h"

// Memory of what nobody holds when a plan runs.
namespace weft::graph {

/// Runs between which a buffer's contents are needed. A result that is computed again has several.
struct Piece {
  size_t buffer;
  int first, last;
};
/// Of all buffers that are not alive at the end and in memory at all, by first run.
std::vector<Piece> pieces_of(const Graph& g, const Plan& plan);

/// Calls `f(operand)` for what `run` finds in memory or puts there.
template <class F>
void touched(const Graph& g, const Plan& plan, const Plan::Run& run, F f) {
  const auto meet = [&](const Operand& o) {
    if (o.in_memory()) f(o);
  };
  if (!run.fused) {
    const Step& s = g.steps[static_cast<size_t>(run.first)];
    for (const Operand& o : s.in) meet(o);
    for (const Operand& o : s.out) meet(o);
    return;
  }
  for (int p = run.places_at; p < run.places_at + run.places; ++p)
    if (plan.places[static_cast<size_t>(p)].in_memory()) meet(plan.sources[static_cast<size_t>(p)].in(g));
}

/// Adds runs that compute results of pointwise and row-wise steps again, just before their next use, where the memory
/// that they would take in between is what the peak consists of.
void recompute(const Graph& g, Plan& plan);

/// Sets the scratch memory of a plan that has its runs, and the moves.
void lay_out(const Graph& g, Plan& plan);

}  // namespace weft::graph
