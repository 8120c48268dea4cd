#include "core/ops/conv.h"

#include "autograd/node.h"

namespace weft::rules {
namespace {

// The same geometry the other way round: what takes gradients of the outputs to the inputs.
ConvAttrs reversed(ConvAttrs a, const Tensor& result) {
  a.transposed = !a.transposed;
  for (int d = 2; d < result.dim(); ++d) a.out_size[d + 3 - result.dim()] = result.size(d);
  return a;
}

Tensor sum_of_channels(const Tensor& g) {
  Dims others{0};
  for (int d = 2; d < g.dim(); ++d) others.push_back(d);
  return g.sum({.dim = others});
}

Tensor along_channels(const Tensor& b, const Tensor& like) {
  Dims sizes = Dims::filled(like.dim(), 1);
  sizes[1] = b.size(0);
  return b.view(sizes).expand(like.sizes());
}

}  // namespace

// y = W * x + b is bilinear: dx = W^T * dy, dW = x (*) dy, db = sum dy; transposed, x and dy change places in dW.
void convolution(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<ConvAttrs>();
  const Tensor x = n.input(0), w = n.input(1);
  if (n.needs(0)) gin[0] = detail::convolution(g[0], w, {}, reversed(a, x));
  const bool bias = n.needs(2);
  if (a.transposed) {
    if (n.needs(1)) gin[1] = detail::convolution_weight(g[0], x, w, false, a).first;
    if (bias) gin[2] = sum_of_channels(g[0]);
  } else if (n.needs(1)) {
    std::tie(gin[1], gin[2]) = detail::convolution_weight(x, g[0], w, bias, a);
  } else if (bias) {
    gin[2] = sum_of_channels(g[0]);
  }
}

// dW = x (*) dy is bilinear too: with V the gradient of dW, x receives V^T * dy and dy receives V * x (+ that of db).
void convolution_weight(Node& n, const Tensor* g, Tensor* gin) {
  ConvAttrs a = n.attrs<ConvAttrs>();
  const Tensor x = n.input(0), dy = n.input(1);
  if (g[0].defined()) {
    a.transposed = true;
    if (n.needs(1)) gin[1] = detail::convolution(x, g[0], {}, reversed(a, dy));
    a.transposed = false;
    if (n.needs(0)) gin[0] = detail::convolution(dy, g[0], {}, reversed(a, x));
  }
  if (g[1].defined() && n.needs(1))
    gin[1] = gin[1].defined() ? gin[1].add(along_channels(g[1], dy)) : along_channels(g[1], dy);
}

}  // namespace weft::rules
