#include "core/ops/scan.h"

#include "autograd/node.h"
#include "core/host_read.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/shape.h"

namespace weft::rules {
namespace {
// Sums from each element to the end.
Tensor sums_to_end(const Tensor& g, int dim) { return g.flip({dim}).cumsum(dim).flip({dim}); }
}  // namespace

void cumsum(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined()) gin[0] = sums_to_end(g[0], n.attrs<ScanOp::Attrs>().dim);
}

// y_i = x_0 .. x_i: dx_k = sum over i >= k of g_i y_i / x_k; without a division where an x is 0.
void cumprod(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const int dim = n.attrs<ScanOp::Attrs>().dim;
  Tensor x = n.input(0);
  const auto has_zeros = [&] {
    const detail::HostRead read("gradient of cumprod: zeros among the values change its formula");
    return x.detach().eq(0).any().item<bool>();
  };
  if (!has_zeros()) {
    gin[0] = sums_to_end(g[0].mul(weft::cumprod(x, dim)), dim).div(x);
    return;
  }
  const int64_t size = x.size(dim);
  std::vector<Tensor> parts;
  for (int64_t k = 0; k < size; ++k) {
    Tensor one = ones_like(x.narrow(dim, 0, 1));
    Tensor before = k == 0 ? one : weft::cumprod(x.narrow(dim, 0, k), dim).narrow(dim, k - 1, 1);
    Tensor after = weft::cumprod(weft::cat({one, x.narrow(dim, k + 1, size - k - 1)}, dim), dim);
    parts.push_back(before.mul(g[0].narrow(dim, k, size - k).mul(after).sum({.dim = dim, .keepdim = true})));
  }
  gin[0] = weft::cat(parts, dim);
}

}  // namespace weft::rules
