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

/// Which piece takes the place of which: results of pointwise steps that of an operand of theirs that nobody needs
/// afterwards. By piece: the one before, or -1.
std::vector<int> heirs(const Graph& g, const Plan& plan, const std::vector<Piece>& pieces);

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

/// Calls `f(index)` for the steps that `run` consists of.
template <class F>
void each_step(const Plan& plan, const Plan::Run& run, F f) {
  if (!run.fused) return f(run.first);
  for (int i = run.steps_at; i < run.steps_at + run.steps; ++i) f(plan.step_of[static_cast<size_t>(i)]);
  if (run.rows < 0) return;
  for (const cpu::RowCall& c : plan.row_groups[static_cast<size_t>(run.rows)].calls) f(c.step);
}

/// Exchanges neighbours among the runs that have nothing to do with each other where less memory is in use then.
void order_runs(const Graph& g, Plan& plan);

/// Adds runs that compute results of pointwise and row-wise steps again, just before their next use, where the memory
/// that they would take in between is what the peak consists of.
void recompute(const Graph& g, Plan& plan);

/// Sets the scratch memory of a plan that has its runs, and the moves.
void lay_out(const Graph& g, Plan& plan);

}  // namespace weft::graph
