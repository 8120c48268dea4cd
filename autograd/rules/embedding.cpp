#include "core/ops/embedding.h"

#include "autograd/node.h"
#include "core/ops/index.h"

namespace weft::rules {

// A row of weight sums the gradients of its copies, halves in f32; the padding row gets none.
void embedding(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<EmbeddingOp::Attrs>();
  DType t = g[0].dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor sum = zeros(a.weight_sizes, {.dtype = t, .device = g[0].device()});
  detail::index_put_linear(sum, n.input(1), g[0].to(t), 0, 1, true);
  if (a.padding >= 0) sum.select(0, a.padding).zero_();
  gin[0] = sum;
}

}  // namespace weft::rules
