#pragma once
#include <memory>
#include <vector>

#include "compile/plan.h"

namespace weft::graph {

/// `g` with common subexpressions shared: where pointwise steps without numbers of their own compute the same of the
/// same values, later steps read the first result, and the others are of no use any more. Null: there are none.
/// `alive`: of each buffer, whether its contents are wanted after the run. Sets shared_ops and longer of `plan`.
std::shared_ptr<const Graph> share_common(const Graph& g, const std::vector<char>& alive, Plan& plan);

}  // namespace weft::graph
