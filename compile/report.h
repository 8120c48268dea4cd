#pragma once
#include <string>

#include "compile/recorder.h"

namespace weft::graph {

/// What Compiled::report() says. Takes cache.mutex.
std::string report(Cache& cache);
/// A line per kernel of a plan.
std::string plan_text(const Graph& g, const Plan& plan);
/// The ops of a kernel of it: "fused: mul add".
std::string run_text(const Graph& g, const Plan& plan, const Plan::Run& run);
/// The function of the user that a step comes from, as " at NAME"; "" when it has no name.
std::string call_text(const CallSite& site);

/// WEFT_DEBUG: 1 recordings and fallbacks, 2 graphs, 3 plans, 4 every kernel that runs; on stderr.
int debug_level();
void debug(int level, const std::string& text);

}  // namespace weft::graph
