#include "core/ops/matmul.h"

#include "autograd/node.h"
#include "core/pointwise.h"

namespace weft::rules {
namespace {

Tensor transposed(const Tensor& t) { return t.transpose(-2, -1); }
Tensor product(const Tensor& a, const Tensor& b) { return a.dim() == 3 ? weft::bmm(a, b) : weft::mm(a, b); }
Tensor scaled(const Tensor& t, Scalar by) { return by.f64() == 1 ? t : t.mul(by); }

}  // namespace

// da = g b^T, db = a^T g
void mm(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  if (n.needs(0)) gin[0] = product(g[0], transposed(n.input(1)));
  if (n.needs(1)) gin[1] = product(transposed(n.input(0)), g[0]);
}

void addmm(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& numbers = n.attrs<AddmmOp::Attrs>();
  if (n.needs(0)) gin[0] = scaled(g[0], numbers.beta);
  if (n.needs(1)) gin[1] = scaled(product(g[0], transposed(n.input(2))), numbers.alpha);
  if (n.needs(2)) gin[2] = scaled(product(transposed(n.input(1)), g[0]), numbers.alpha);
}

// With rows x [r, in] and g [r, out]: dx = g w, dw = g^T x, dbias = sum of rows of g
void linear(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const int64_t out = g[0].sizes().back();
  int64_t count = 1;
  for (int d = 0; d + 1 < g[0].dim(); ++d) count *= g[0].sizes()[d];
  const Tensor rows = g[0].dim() == 2 ? g[0] : g[0].reshape({count, out});
  if (n.needs(0)) {
    const Tensor dx = weft::mm(rows, n.input(1));
    Dims sizes = g[0].sizes();
    sizes.back() = dx.sizes()[1];
    gin[0] = g[0].dim() == 2 ? dx : dx.reshape(sizes);
  }
  if (n.needs(1)) {
    const Tensor x = n.input(0), x_rows = x.dim() == 2 ? x : x.reshape({count, x.sizes().back()});
    if (n.needs(2) && rows.device().is_cuda()) {  // one pass over g
      Tensor both[2];
      detail::linear_grad(rows, x_rows, both);
      gin[1] = both[0];
      gin[2] = both[1];
      return;
    }
    gin[1] = weft::mm(rows.t(), x_rows);
  }
  if (n.needs(2)) gin[2] = rows.sum({.dim = 0});
}

// Of dw = g^T x and db = sum of rows of g, with their gradients w' and b': dg = x w'^T + b', dx = g w'
void linear_grad(Node& n, const Tensor* g, Tensor* gin) {
  if (n.needs(0)) {
    if (g[0].defined())
      gin[0] = weft::linear(n.input(1), g[0], g[1]);
    else if (g[1].defined())
      gin[0] = g[1].expand(n.input(0).sizes());
  }
  if (n.needs(1) && g[0].defined()) gin[1] = weft::mm(n.input(0), g[0]);
}

}  // namespace weft::rules
