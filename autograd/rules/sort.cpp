#include "core/ops/sort.h"

#include "autograd/node.h"

namespace weft::rules {

// Values are elements of x, each taken at most once: their gradients go back there.
void sort(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<SortOp::Attrs>();
  gin[0] = zeros(a.input_sizes, {.dtype = g[0].dtype(), .device = g[0].device()}).scatter(a.dim, n.output(1), g[0]);
}

}  // namespace weft::rules
