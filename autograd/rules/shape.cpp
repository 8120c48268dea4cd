#include "core/ops/shape.h"

#include "autograd/node.h"

namespace weft::rules {

// Every input takes its part of the gradient.
void cat(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<CatOp::Attrs>();
  int64_t at = 0;
  for (int i = 0; i < n.n_edges; ++i) {
    if (n.needs(i)) {
      gin[i] = g[0].narrow(a.dim, at, a.lengths()[i]);
      if (n.edges[i].node->outputs[n.edges[i].nr].sizes.size() != gin[i].dim()) gin[i] = gin[i].reshape({0});
    }
    at += a.lengths()[i];
  }
}
void flip(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined()) gin[0] = g[0].flip(n.attrs<FlipOp::Attrs>().dims);
}
void triangle(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<TriangleOp::Attrs>();
  gin[0] = a.upper ? g[0].triu(a.diagonal) : g[0].tril(a.diagonal);
}

}  // namespace weft::rules
