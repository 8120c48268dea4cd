#include "core/ops/dropout.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord DropoutOp::record{.name = "dropout", .cpu = cpu::dropout, .rule = rules::dropout};

Tensor detail::dropout_at(const Tensor& x, const DropoutOp::Attrs& a) {
  const Tensor in[1] = {x};
  Tensor out = allocate(x.sizes(), x.dtype(), x.device());
  weft::dispatch(DropoutOp::record, in, out, a);
  return out;
}

namespace {

void check(const Tensor& x, double p, const char* op) {
  WEFT_CHECK(x.defined(), "{}: undefined tensor", op);
  WEFT_CHECK(p >= 0 && p <= 1, "{}: p must lie in [0, 1], got {}", op, p);
}
// 1 or 0 for each channel; the other sizes are 1.
Tensor channel_mask(const Tensor& x, double p, int batch_dims, Generator* generator) {
  NoGrad guard;
  Dims sizes = Dims::filled(x.dim(), 1);
  for (int d = 0; d < batch_dims; ++d) sizes[d] = x.sizes()[d];
  return empty(sizes, {.dtype = x.dtype(), .device = x.device()}).bernoulli_(1 - p, generator);
}
// `dims`: of x with a batch.
Tensor channel_dropout(const Tensor& x, double p, bool training, Generator* generator, int dims, const char* op) {
  check(x, p, op);
  WEFT_CHECK(dims == 0 ? x.dim() >= 2 : x.dim() == dims || x.dim() == dims - 1,
             "{}: {} has no channels to drop; expected {} or {} dimensions", op, x, dims, dims - 1);
  if (!training || p == 0 || x.numel() == 0) return x;
  int batch_dims = dims != 0 && x.dim() == dims - 1 ? 1 : 2;
  Tensor mask = channel_mask(x, p, batch_dims, generator);
  return x.mul(p == 1 ? mask : mask.div_(1 - p));
}
// a (x m + alpha' (1 - m)) + b with a, b that keep mean and variance.
Tensor alpha_with(const Tensor& x, const Tensor& mask, double p) {
  constexpr double kAlpha = 1.7580993408473766;
  double a = 1 / std::sqrt((kAlpha * kAlpha * p + 1) * (1 - p));
  Tensor shift = mask.sub(1).mul_(kAlpha * a).add_(kAlpha * a * p);
  return x.mul(mask.mul(a)).add(shift);
}

}  // namespace

Tensor dropout(const Tensor& x, double p, bool training, Generator* generator) {
  check(x, p, "dropout");
  if (!training || p == 0 || x.numel() == 0) return x;
  WEFT_CHECK_TYPE(is_floating(x.dtype()), "dropout: needs a floating tensor, got {}", x);
  if (p == 1) return x.mul(0.0);
  return detail::dropout_at(x.contiguous(), {detail::take_state(generator, x.numel()), p});
}
Tensor& dropout_(Tensor& x, double p, bool training, Generator* generator) {
  check(x, p, "dropout_");
  if (!training || p == 0 || x.numel() == 0) return x;
  WEFT_CHECK_TYPE(is_floating(x.dtype()), "dropout_: needs a floating tensor, got {}", x);
  if (p == 1) return x.mul_(0.0);
  if (!x.is_contiguous()) return x.copy_(dropout(x, p, training, generator));
  const Tensor in[1] = {x};
  dispatch_inplace(DropoutOp::record, x, in, DropoutOp::Attrs{detail::take_state(generator, x.numel()), p});
  return x;
}
Tensor dropout1d(const Tensor& x, double p, bool training, Generator* generator) {
  return channel_dropout(x, p, training, generator, 3, "dropout1d");
}
// torch.nn.functional.dropout2d takes three dimensions as [N, C, L], dropout3d four as [C, D, H, W].
Tensor dropout2d(const Tensor& x, double p, bool training, Generator* generator) {
  return channel_dropout(x, p, training, generator, x.dim() == 3 ? 0 : 4, "dropout2d");
}
Tensor dropout3d(const Tensor& x, double p, bool training, Generator* generator) {
  return channel_dropout(x, p, training, generator, 5, "dropout3d");
}

Tensor alpha_dropout(const Tensor& x, double p, bool training, Generator* generator) {
  check(x, p, "alpha_dropout");
  if (!training || p == 0 || x.numel() == 0) return x;
  if (p == 1) return x.mul(0.0);
  return alpha_with(x, empty_like(x).bernoulli_(1 - p, generator), p);
}
Tensor feature_alpha_dropout(const Tensor& x, double p, bool training, Generator* generator) {
  check(x, p, "feature_alpha_dropout");
  WEFT_CHECK(x.dim() >= 2, "feature_alpha_dropout: needs at least 2 dimensions, got {}", x);
  if (!training || p == 0 || x.numel() == 0) return x;
  if (p == 1) return x.mul(0.0);
  return alpha_with(x, channel_mask(x, p, 2, generator), p);
}

Tensor rrelu(const Tensor& x, double lower, double upper, bool training, Generator* generator) {
  WEFT_CHECK(lower <= upper, "rrelu: lower ({}) must not exceed upper ({})", lower, upper);
  if (!training) return leaky_relu(x, (lower + upper) / 2);
  Tensor slope = where(x.detach().le(0), empty_like(x).uniform_(lower, upper, generator), Tensor::wrap(1.0));
  return x.mul(slope);
}

}  // namespace weft
