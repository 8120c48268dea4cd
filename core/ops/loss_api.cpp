#include "core/ops/loss_api.h"

#include "core/autocast.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/ops/require.h"
#include "core/thread_state.h"

namespace weft {

namespace p = pointwise_ops;

Reduction::Reduction(std::string_view name) {
  if (name == "none")
    kind_ = none;
  else if (name == "mean")
    kind_ = mean;
  else if (name == "sum")
    kind_ = sum;
  else if (name == "batchmean")
    kind_ = batchmean;
  else
    WEFT_FAIL("reduction: \"{}\" is not known; use \"none\", \"mean\" or \"sum\"", name);
}

Tensor detail::reduce_loss(const Tensor& losses, Reduction reduction) {
  if (reduction == Reduction::none) return losses;
  if (reduction == Reduction::sum) return sum(losses);
  if (reduction == Reduction::batchmean) return losses.dim() == 0 ? losses : sum(losses).div(losses.sizes()[0]);
  return mean(losses);
}

namespace {

using detail::reduce_loss;

Tensor losses_of(const PointwiseInfo& op, const Tensor& a, const Tensor& b, std::initializer_list<Scalar> params = {}) {
  const Tensor in[2] = {a, b};
  return pointwise(op, in, params.begin());
}
// Weighted losses; their mean is over the weights.
Tensor weighted(const Tensor& losses, const Tensor& weight, Reduction reduction, const char* op) {
  if (!weight.defined()) return reduce_loss(losses, reduction);
  WEFT_CHECK(weight.sizes() == losses.sizes(), "{}: weight has shape {}, expected {}", op, weight.sizes(),
             losses.sizes());
  Tensor all = losses.mul(weight);
  return reduction == Reduction::mean ? sum(all).div(sum(weight)) : reduce_loss(all, reduction);
}
void check_same_shape(const Tensor& input, const Tensor& target, const char* op) {
  WEFT_CHECK(input.sizes() == target.sizes(), "{}: target {} must have the shape of input {}; reshape it", op, target,
             input);
}

}  // namespace

Tensor mse_loss(const Tensor& input, const Tensor& target, const WeightedLossOptions& o) {
  return weighted(losses_of(p::mse_loss_none, input, target), o.weight, o.reduction, "mse_loss");
}
Tensor l1_loss(const Tensor& input, const Tensor& target, const WeightedLossOptions& o) {
  return weighted(losses_of(p::l1_loss_none, input, target), o.weight, o.reduction, "l1_loss");
}
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, const SmoothL1Options& o) {
  WEFT_CHECK(o.beta >= 0, "smooth_l1_loss: beta must not be negative, got {}", o.beta);
  return reduce_loss(o.beta == 0 ? losses_of(p::l1_loss_none, input, target)
                                 : losses_of(p::smooth_l1_loss_none, input, target, {o.beta}),
                     o.reduction);
}
Tensor huber_loss(const Tensor& input, const Tensor& target, const HuberOptions& o) {
  WEFT_CHECK(o.delta > 0, "huber_loss: delta must be positive, got {}", o.delta);
  return weighted(losses_of(p::huber_loss_none, input, target, {o.delta}), o.weight, o.reduction, "huber_loss");
}

Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const WeightedLossOptions& o) {
  check_same_shape(input, target, "binary_cross_entropy");
  {
    NoGrad guard;
    detail::require(input.ge(0).logical_and(input.le(1)),
                    "{}: input must lie in [0, 1]; apply sigmoid() or use the form with_logits",
                    "binary_cross_entropy");
  }
  Tensor losses = losses_of(p::binary_cross_entropy_none, input, target);
  return reduce_loss(o.weight.defined() ? losses.mul(o.weight) : losses, o.reduction);
}
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const BceWithLogitsOptions& o) {
  if (const OpRecord& op = p::bce_with_logits_none.record; detail::casts(op)) [[unlikely]]
    return detail::cast_call(op, binary_cross_entropy_with_logits, input, target, o);
  check_same_shape(input, target, "binary_cross_entropy_with_logits");
  Tensor losses;
  if (o.pos_weight.defined()) {
    const Tensor in[3] = {input, target, o.pos_weight};
    losses = pointwise(p::bce_with_logits_pos_weight_none, in);
  } else {
    losses = losses_of(p::bce_with_logits_none, input, target);
  }
  Tensor loss = reduce_loss(o.weight.defined() ? losses.mul(o.weight) : losses, o.reduction);
  // PyTorch computes on 1 - target: its dtype is the result's.
  return is_floating(target.dtype()) ? loss.to(target.dtype()) : loss;
}
Tensor kl_div(const Tensor& input, const Tensor& target, const KlDivOptions& o) {
  return reduce_loss(losses_of(o.log_target ? p::kl_div_log_target_none : p::kl_div_none, input, target), o.reduction);
}
Tensor soft_margin_loss(const Tensor& input, const Tensor& target, const LossOptions& o) {
  return reduce_loss(losses_of(p::soft_margin_loss_none, input, target), o.reduction);
}

}  // namespace weft
