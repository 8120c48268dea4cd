#include "core/ops/extreme.h"

#include "autograd/node.h"
#include "core/ops/pointwise_api.h"

namespace weft::rules {

// The whole gradient goes to the element whose index was returned.
void selected(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<ReduceAttrs>();
  if (a.mask == 0) {
    gin[0] = g[0];
    return;
  }
  const int dim = __builtin_ctz(a.mask);
  Dims along = Dims::filled(a.sizes.size(), 1);
  along[dim] = a.sizes[dim];
  const Tensor index = detail::restore_dims(n.output(1), a.sizes, a.mask, a.keepdim);
  const Tensor here = arange(0, a.sizes[dim], 1, {.device = index.device()}).view(along).eq(index);
  gin[0] = where(here, detail::restore_dims(g[0], a.sizes, a.mask, a.keepdim), 0.0);
}

}  // namespace weft::rules
