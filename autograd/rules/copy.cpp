#include "core/ops/copy.h"

#include "autograd/node.h"

namespace weft::rules {

// The old self no longer matters; src receives the whole gradient (summed and cast to its shape and dtype by the
// engine).
void copy(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  if (n.needs(0)) gin[0] = zeros_like(g[0]);
  if (n.needs(1)) gin[1] = g[0];
}
void to_copy(Node&, const Tensor* g, Tensor* gin) { gin[0] = g[0]; }
void fill(Node& n, const Tensor* g, Tensor* gin) {
  if (n.needs(0) && g[0].defined()) gin[0] = zeros_like(g[0]);
}

}  // namespace weft::rules
