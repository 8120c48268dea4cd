#include "core/ops/statistics.h"

#include <cmath>

#include "autograd/node.h"
#include "core/ops/pointwise_api.h"
#include "core/thread_state.h"

namespace weft::rules {
namespace {

Tensor restored(const Tensor& t, const ReduceAttrs& a) { return detail::restore_dims(t, a.sizes, a.mask, a.keepdim); }
DimList dims_of(const ReduceAttrs& a) {
  DimList dims;
  dims.all = a.sizes.empty();
  for (int d = 0; d < a.sizes.size(); ++d)
    if (a.mask >> d & 1) dims.dims.push_back(d);
  return dims;
}

}  // namespace

// d var / d x_i = 2 (x_i - mean) / (n - correction); d std = d var / (2 std), 0 where std is 0.
void var(Node& n, const Tensor* g, Tensor* gin) {
  const auto& a = n.attrs<VarOp::Attrs>();
  const double count = static_cast<double>(detail::reduced_count(a.reduce.sizes, a.reduce.mask));
  Tensor result;
  if (g[0].defined()) {
    Tensor x = n.input(0);
    Tensor gv = g[0];
    if (a.root) {
      Tensor y = n.output(0);
      gv = where(y.eq(0), 0.0, gv.div(y.mul(2.0)));
    }
    Tensor centred = x.sub(x.mean({.dim = dims_of(a.reduce), .keepdim = true}));
    const double freedom = count - a.correction;
    if (freedom > 0)
      result = restored(gv.mul(2.0 / freedom), a.reduce).mul(centred);
    else
      result = restored(gv, a.reduce).mul(where(centred.eq(0), NAN, INFINITY).to(gv.dtype()));
  }
  if (g[1].defined()) {
    Tensor each = restored(g[1].div(count), a.reduce);
    result = result.defined() ? result.add(each) : each.expand(a.reduce.sizes);
  }
  gin[0] = result;
}

// d |x|_p / d x_i = sign(x_i) |x_i|^(p-1) / |x|_p^(p-1), 0 where the norm is.
void norm(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<NormOp::Attrs>();
  const double p = a.p;
  Tensor x = n.input(0), y = restored(n.output(0), a.reduce), gy = restored(g[0], a.reduce);
  auto unless_zero = [&](const Tensor& t) { return where(y.eq(0), 0.0, t); };
  if (p == 0) {
    gin[0] = zeros_like(x);
  } else if (p == 1) {
    gin[0] = gy.mul(x.sign());
  } else if (p == 2) {
    gin[0] = gy.mul(where(y.eq(0), 0.0, x.div(y)));
  } else if (std::isinf(p)) {
    Tensor share;
    {
      NoGrad guard;
      share = x.abs().eq(y).to(g[0].dtype());
      share = share.div(share.sum({.dim = dims_of(a.reduce), .keepdim = true}));
    }
    gin[0] = x.sign().mul(share).mul(gy);
  } else if (p < 1) {
    // PyTorch's order and roundings: its pow(-0.5) is 1 / sqrt.
    Tensor power = p == 0.5 ? x.abs().rsqrt() : x.abs().pow(p - 1);
    gin[0] = where(x.eq(0), 0.0, x.sign().mul(power)).mul(gy).mul(y.pow(1 - p));
  } else if (p < 2) {
    gin[0] = x.sign().mul(x.abs().pow(p - 1)).mul(unless_zero(gy.div(y.pow(p - 1))));
  } else {
    gin[0] = x.mul(x.abs().pow(p - 2)).mul(unless_zero(gy.div(y.pow(p - 1))));
  }
}

// d log(sum exp(x)) / d x_i = exp(x_i - y)
void logsumexp(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<ReduceAttrs>();
  gin[0] = restored(g[0], a).mul(n.input(0).sub(restored(n.output(0), a)).exp());
}

}  // namespace weft::rules
