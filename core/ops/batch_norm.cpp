#include "core/ops/batch_norm.h"

#include "core/error.h"
#include "core/ops/extents.h"
#include "core/recompute.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord BatchNormOp::record{.name = "batch_norm",
                                   .save_inputs = 0b00011,
                                   .save_outputs = 0b110,
                                   .cpu = cpu::batch_norm,
                                   .rule = rules::batch_norm,
                                   .non_differentiable = 0b110};
const OpRecord BatchNormBackwardOp::record{.name = "batch_norm_backward",
                                           .save_inputs = 0b11111,
                                           .cpu = cpu::batch_norm_backward,
                                           .rule = rules::batch_norm_backward};

namespace {

void check_channels(const Tensor& t, const Tensor& x, int64_t channels, const char* op, const char* what) {
  if (!t.defined()) return;
  WEFT_CHECK(t.dim() == 1 && t.size(0) == channels, "{}: {} must be [{}], one value per channel of x {}, got {}", op,
             what, channels, x, t);
  const bool half = x.dtype() == DType::bf16 || x.dtype() == DType::f16;
  WEFT_CHECK_TYPE(t.dtype() == x.dtype() || (half && t.dtype() == DType::f32),
                  "{}: {} {} does not fit x {}; convert it with .to()", op, what, t, x);
}

void check(const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& weight, const Tensor& bias,
           bool from_input, const char* op) {
  WEFT_CHECK(x.defined() && x.dim() >= 2, "{}: x must have at least 2 dimensions [N, C, ...]{}", op,
             x.defined() ? "" : ", got none");
  WEFT_CHECK_TYPE(is_floating(x.dtype()), "{}: x {} must be floating; convert it with .to()", op, x);
  WEFT_CHECK(mean.defined() == var.defined(), "{}: give both of running_mean and running_var, or none", op);
  WEFT_CHECK(from_input || mean.defined(), "{}: without statistics of x, running_mean and running_var are needed", op);
  const int64_t channels = x.size(1);
  check_channels(mean, x, channels, op, "running_mean");
  check_channels(var, x, channels, op, "running_var");
  check_channels(weight, x, channels, op, "weight");
  check_channels(bias, x, channels, op, "bias");
}

Tensor normalise(const Tensor& x, const Tensor& mean, const Tensor& var, const BatchNormOptions& o) {
  BatchNormAttrs a{o.training, detail::suggest_memory_format(x), o.momentum, o.eps};
  const Tensor dense = x.contiguous(a.format);
  const DType stats = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor out[3] = {detail::allocate(x.sizes(), detail::strides_of(x.sizes(), a.format), x.dtype(), x.device()),
                   detail::allocate({x.size(1)}, stats, x.device()), detail::allocate({x.size(1)}, stats, x.device())};
  const bool updates = o.training && mean.defined() && !detail::is_recomputing(), reads = !o.training;
  const Tensor in[5] = {dense, o.weight, o.bias, updates || reads ? mean : Tensor(), updates || reads ? var : Tensor()};
  dispatch(BatchNormOp::record, in, out, a);
  if (updates) {
    mean.impl()->storage->bump("batch_norm");
    var.impl()->storage->bump("batch_norm");
  }
  return out[0];
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const BatchNormOptions& o) {
  WEFT_CHECK(x.defined(), "batch_norm: x is an undefined tensor");
  if (x.numel() == 0) {  // of any shape, as in PyTorch; the parameters take part for their (zero) gradients
    Tensor y = o.weight.defined() ? x.mul(o.weight.sum()) : x.clone();
    return o.bias.defined() ? y.add(o.bias.sum()) : y;
  }
  check(x, running_mean, running_var, o.weight, o.bias, o.training, "batch_norm");
  WEFT_CHECK(!o.training || x.numel() != x.size(1),
             "batch_norm: training needs more than one value per channel, got x {}; use a larger batch or eval()", x);
  return normalise(x, running_mean, running_var, o);
}

Tensor instance_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                     const InstanceNormOptions& o) {
  check(x, running_mean, running_var, o.weight, o.bias, o.use_input_stats, "instance_norm");
  const int64_t batch = x.size(0), channels = x.size(1);
  WEFT_CHECK(!o.use_input_stats || x.numel() != batch * channels || x.numel() == 0,
             "instance_norm: needs more than one value per sample and channel, got x {}", x);
  // Sample and channel as one dimension of channels.
  const auto repeated = [&](const Tensor& t) {
    return t.defined() ? t.unsqueeze(0).expand({batch, channels}).reshape({batch * channels}) : t;
  };
  Dims flat = x.sizes();
  flat[0] = 1, flat[1] = batch * channels;
  Tensor mean, var;
  if (running_mean.defined()) {
    NoGrad guard;
    mean = repeated(running_mean).clone();
    var = repeated(running_var).clone();
  }
  Tensor y = normalise(x.contiguous().view(flat), mean, var,
                       {repeated(o.weight), repeated(o.bias), o.use_input_stats, o.momentum, o.eps});
  if (running_mean.defined() && o.use_input_stats && !detail::is_recomputing()) {
    NoGrad guard;
    Tensor(running_mean).copy_(mean.view({batch, channels}).mean({.dim = 0}));
    Tensor(running_var).copy_(var.view({batch, channels}).mean({.dim = 0}));
  }
  return y.view(x.sizes());
}

}  // namespace weft
