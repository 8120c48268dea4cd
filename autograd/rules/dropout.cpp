#include "core/ops/dropout.h"

#include "autograd/node.h"

namespace weft::rules {

// Linear in x: the same elements are dropped from the gradient.
void dropout(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined()) gin[0] = detail::dropout_at(g[0].contiguous(), n.attrs<DropoutOp::Attrs>());
}

}  // namespace weft::rules
