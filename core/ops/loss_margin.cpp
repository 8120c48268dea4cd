// Margin losses and likelihoods: short formulas over public ops.
#include <cmath>
#include <numbers>

#include "core/autocast.h"
#include "core/error.h"
#include "core/ops/loss_api.h"
#include "core/ops/norm.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/ops/require.h"
#include "core/thread_state.h"

namespace weft {

namespace {

using detail::reduce_loss;

// What Autocast does with the losses of this file that PyTorch computes in f32; they have no kernel of their own.
const OpRecord kInF32{.name = "margin_loss", .cast = Cast::f32};

// x as [N, C] ([C] and a single value count as one row) for the losses of classes.
Tensor as_rows(const Tensor& x, const char* op) {
  WEFT_CHECK(x.defined() && x.dim() <= 2 && (x.dim() == 0 || x.sizes().back() > 0),
             "{}: needs [N, C] or [C] with at least one class, got {}", op, x);
  return x.dim() == 2 ? x : x.reshape({1, -1});
}
// target == label; -1 is 255 in u8.
Tensor is_label(const Tensor& target, int64_t label) {
  return target.dtype() == DType::u8 ? target.eq(label & 255) : target.eq(label);
}
// 1 where the column is the target of the row.
Tensor is_class(const Tensor& target, int64_t classes) {
  return arange(0, classes, 1, {.device = target.device()}).eq(target.unsqueeze(-1));
}

}  // namespace

Tensor hinge_embedding_loss(const Tensor& input, const Tensor& target, const MarginLossOptions& o) {
  if (detail::casts(kInF32)) [[unlikely]]
    return detail::cast_call(kInF32, hinge_embedding_loss, input, target, o);
  Tensor positive = where(is_label(target, -1), 0.0, input);
  Tensor negative = where(is_label(target, 1), 0.0, rsub(input, o.margin).clamp_min(0));
  return reduce_loss(positive.add(negative), o.reduction);
}

Tensor margin_ranking_loss(const Tensor& x1, const Tensor& x2, const Tensor& target, const MarginLossOptions& o) {
  if (detail::casts(kInF32)) [[unlikely]]
    return detail::cast_call(kInF32, margin_ranking_loss, x1, x2, target, o);
  WEFT_CHECK(x1.dim() == x2.dim() && x1.dim() == target.dim(),
             "margin_ranking_loss: {}, {} and {} must have the same number of dimensions", x1, x2, target);
  return reduce_loss(target.neg().mul(x1.sub(x2)).add(o.margin).clamp_min(0), o.reduction);
}

// cos = x1 . x2 / sqrt((|x1|^2 + e) (|x2|^2 + e))
Tensor cosine_embedding_loss(const Tensor& x1, const Tensor& x2, const Tensor& target, const MarginLossOptions& o) {
  if (detail::casts(kInF32)) [[unlikely]]
    return detail::cast_call(kInF32, cosine_embedding_loss, x1, x2, target, o);
  WEFT_CHECK(target.dim() <= 1 && x1.dim() == target.dim() + 1 && x2.dim() == target.dim() + 1,
             "cosine_embedding_loss: target {} needs inputs with one dimension more, got {} and {}", target, x1, x2);
  constexpr double kEps = 1e-12;
  const ReduceOptions last{.dim = -1};
  Tensor length = sum(x1.mul(x1), last).add(kEps).mul(sum(x2.mul(x2), last).add(kEps)).sqrt();
  Tensor cos = sum(x1.mul(x2), last).div(length);
  Tensor same = where(is_label(target, 1), rsub(cos, 1.0), 0.0);
  Tensor other = where(is_label(target, -1), cos.sub(o.margin).clamp_min(0), 0.0);
  return reduce_loss(same.add(other), o.reduction);
}

Tensor triplet_margin_with_distance_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                                         const TripletDistanceOptions& o) {
  WEFT_CHECK(o.margin > 0, "triplet_margin_loss: margin must be positive, got {}", o.margin);
  WEFT_CHECK(anchor.dim() == positive.dim() && anchor.dim() == negative.dim(),
             "triplet_margin_loss: {}, {} and {} must have the same number of dimensions", anchor, positive, negative);
  auto distance = [&](const Tensor& a, const Tensor& b) {
    return o.distance_function ? o.distance_function(a, b) : pairwise_distance(a, b);
  };
  Tensor near = distance(anchor, positive), far = distance(anchor, negative);
  if (o.swap) far = minimum(far, distance(positive, negative));
  return reduce_loss(near.sub(far).add(o.margin).clamp_min(0), o.reduction);
}
Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           const TripletMarginOptions& o) {
  if (detail::casts(kInF32)) [[unlikely]]
    return detail::cast_call(kInF32, triplet_margin_loss, anchor, positive, negative, o);
  auto distance = [&o](const Tensor& a, const Tensor& b) { return pairwise_distance(a, b, {.p = o.p, .eps = o.eps}); };
  return triplet_margin_with_distance_loss(
      anchor, positive, negative,
      {.distance_function = distance, .margin = o.margin, .swap = o.swap, .reduction = o.reduction});
}

Tensor multi_margin_loss(const Tensor& input, const Tensor& given, const MultiMarginOptions& o) {
  if (detail::casts(kInF32)) [[unlikely]]
    return detail::cast_call(kInF32, multi_margin_loss, input, given, o);
  constexpr const char* op = "multi_margin_loss";
  WEFT_CHECK(o.p == 1 || o.p == 2, "multi_margin_loss: p must be 1 or 2, got {}", o.p);
  Tensor x = as_rows(input, op);
  const int64_t rows = x.sizes()[0], classes = x.sizes()[1];
  WEFT_CHECK_TYPE(given.dtype() == DType::i64, "multi_margin_loss: target must hold i64 class indices, got {}", given);
  WEFT_CHECK(given.dim() <= 1 && given.numel() == rows, "multi_margin_loss: target {} for {} rows", given, rows);
  WEFT_CHECK(!o.weight.defined() || (o.weight.dim() == 1 && o.weight.numel() == classes),
             "multi_margin_loss: weight {} needs one value per class ({})", o.weight, classes);
  Tensor target = given.reshape({rows});
  detail::require(target.ge(0).logical_and(target.lt(classes)), "{}: a target lies outside of [0, {})", op, classes,
                  detail::Fault::index);
  Tensor here = is_class(target, classes);
  Tensor own = where(here, x, 0.0).sum({.dim = 1, .keepdim = true});
  Tensor excess = rsub(own, o.margin).add(x).clamp_min(0);
  if (o.p == 2) excess = excess.square();
  if (o.weight.defined()) excess = excess.mul(where(here, o.weight, 0.0).sum({.dim = 1, .keepdim = true}));
  Tensor losses = where(here, 0.0, excess).sum({.dim = 1}).div(classes);
  return reduce_loss(given.dim() == 0 ? losses.reshape({}) : losses, o.reduction);
}

Tensor multilabel_margin_loss(const Tensor& input, const Tensor& given, const LossOptions& o) {
  if (detail::casts(kInF32)) [[unlikely]]
    return detail::cast_call(kInF32, multilabel_margin_loss, input, given, o);
  constexpr const char* op = "multilabel_margin_loss";
  Tensor x = as_rows(input, op);
  const int64_t rows = x.sizes()[0], classes = x.sizes()[1];
  WEFT_CHECK_TYPE(given.dtype() == DType::i64, "multilabel_margin_loss: target must hold i64 class indices, got {}",
                  given);
  WEFT_CHECK(given.sizes() == input.sizes() || (input.dim() <= 1 && given.dim() <= 1 && given.numel() == classes),
             "multilabel_margin_loss: target {} for input {}; the shapes must be equal", given, input);
  Tensor target = given.reshape({rows, classes});
  detail::require(target.ge(-1).logical_and(target.lt(classes)), "{}: a target lies outside of [-1, {})", op, classes,
                  detail::Fault::index);
  // Targets count up to the first -1: where no -1 has come before.
  Tensor counts = target.lt(0).to(DType::i64).cumsum(1).eq(0);
  Tensor marks = is_class(target, classes).logical_and(counts.unsqueeze(-1));  // [row, place, class]
  Tensor labelled = marks.any({.dim = 1});                                     // [row, class]
  Tensor own = where(marks, x.unsqueeze(1), 0.0).sum({.dim = 2});              // [row, place]
  Tensor excess = rsub(own, 1.0).unsqueeze(-1).add(x.unsqueeze(1)).clamp_min(0);
  Tensor pairs = counts.unsqueeze(-1).logical_and(labelled.logical_not().unsqueeze(1));
  Tensor losses = where(pairs, excess, 0.0).sum({.dim = {1, 2}}).div(classes);
  return reduce_loss(input.dim() <= 1 ? losses.reshape({}) : losses, o.reduction);
}

Tensor multilabel_soft_margin_loss(const Tensor& input, const Tensor& target, const WeightedLossOptions& o) {
  Tensor losses = target.mul(logsigmoid(input)).add(rsub(target, 1.0).mul(logsigmoid(input.neg()))).neg();
  if (o.weight.defined()) losses = losses.mul(o.weight);
  return reduce_loss(losses.mean({.dim = -1}), o.reduction);
}

Tensor poisson_nll_loss(const Tensor& input, const Tensor& target, const PoissonNllOptions& o) {
  if (detail::casts(kInF32)) [[unlikely]]
    return detail::cast_call(kInF32, poisson_nll_loss, input, target, o);
  Tensor losses = o.log_input ? input.exp().sub(target.mul(input)) : input.sub(target.mul(input.add(o.eps).log()));
  if (o.full) {
    Tensor stirling = target.mul(target.log()).sub(target).add(target.mul(2 * std::numbers::pi).log().mul(0.5));
    losses = losses.add(where(target.le(1), 0.0, stirling));
  }
  return reduce_loss(losses, o.reduction);
}

Tensor gaussian_nll_loss(const Tensor& input, const Tensor& target, const Tensor& given, const GaussianNllOptions& o) {
  Tensor var = given;
  if (var.sizes() != input.sizes() && input.dim() > 0) {
    Dims without = input.sizes();
    without.pop_back();
    int ones = 0, others = 0;  // dimensions in which var differs by being 1, or otherwise
    if (var.dim() == input.dim())
      for (int d = 0; d < var.dim(); ++d)
        if (var.size(d) != input.size(d)) ++(var.size(d) == 1 ? ones : others);
    if (var.sizes() == without)
      var = var.unsqueeze(-1);
    else
      WEFT_CHECK((ones == 1 && others == 0) || var.dim() == 0, "gaussian_nll_loss: var {} does not fit input {}", given,
                 input);
  }
  {
    NoGrad guard;
    detail::require(var.lt(0).logical_not(), "{}: var has negative values", "gaussian_nll_loss");
  }
  // The bound on var takes no part in the gradient.
  Tensor bound;
  {
    NoGrad guard;
    bound = var.clamp_min(o.eps).sub(var);
  }
  var = var.add(bound);
  Tensor losses = var.log().add(input.sub(target).square().div(var)).mul(0.5);
  if (o.full) losses = losses.add(0.5 * std::log(2 * std::numbers::pi));
  return reduce_loss(losses, o.reduction);
}

}  // namespace weft
