#include "core/ops/pool.h"

#include "autograd/node.h"

namespace weft::rules {

// Every pool is linear in x once the indices are chosen, so that each rule is the op's transpose.
void max_pool(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined())
    gin[0] = detail::pool_like(MaxPoolBackwardOp::record, g[0], n.output(1), n.attrs<PoolAttrs>(), true);
}
void max_pool_backward(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined())
    gin[0] = detail::pool_like(MaxPoolGatherOp::record, g[0], n.input(1), n.attrs<PoolAttrs>(), false);
}
void max_pool_gather(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined())
    gin[0] = detail::pool_like(MaxPoolBackwardOp::record, g[0], n.input(1), n.attrs<PoolAttrs>(), true);
}
void avg_pool(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined()) gin[0] = detail::pool_like(AvgPoolBackwardOp::record, g[0], {}, n.attrs<PoolAttrs>(), true);
}
void avg_pool_backward(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined()) gin[0] = detail::pool_like(AvgPoolOp::record, g[0], {}, n.attrs<PoolAttrs>(), false);
}

}  // namespace weft::rules
