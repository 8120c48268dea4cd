#include "core/ops/cross_entropy.h"

#include "core/autocast.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"

namespace weft {

const OpRecord ClassLossOp::nll{.name = "nll_loss",
                                .save_inputs = 7,
                                .save_outputs = 6,
                                .cpu = cpu::class_loss,
                                .rule = rules::class_loss,
                                .non_differentiable = 6,
                                .cast = Cast::f32};
const OpRecord ClassLossOp::cross_entropy{.name = "cross_entropy",
                                          .save_inputs = 7,
                                          .save_outputs = 6,
                                          .cpu = cpu::class_loss,
                                          .rule = rules::class_loss,
                                          .non_differentiable = 6,
                                          .cast = Cast::f32};
const OpRecord ClassLossBackwardOp::record{.name = "class_loss_backward", .cpu = cpu::class_loss_backward};

namespace {

int class_dim(const Tensor& x, const char* op) {
  WEFT_CHECK(x.defined() && x.dim() > 0, "{}: the input needs a dimension of classes, got {}", op, x);
  WEFT_CHECK_TYPE(is_floating(x.dtype()), "{}: the input must be floating, got {}", op, x);
  const int dim = x.dim() == 1 ? 0 : 1;
  WEFT_CHECK(x.sizes()[dim] > 0, "{}: {} has no classes", op, x);
  return dim;
}
void check_weight(const Tensor& weight, int64_t classes, const char* op) {
  WEFT_CHECK(!weight.defined() || (weight.dim() == 1 && weight.numel() == classes),
             "{}: weight {} needs one value per class ({})", op, weight, classes);
}
void check_reduction(Reduction r, const char* op) {
  WEFT_CHECK(r != Reduction::batchmean, "{}: reduction \"batchmean\" is for kl_div; use \"mean\"", op);
}

// f32_result: of halves.
Tensor class_loss(const OpRecord& op, const Tensor& x, const Tensor& target, const Tensor& weight, Reduction reduction,
                  int64_t ignore_index, double smoothing, bool f32_result) {
  const int dim = class_dim(x, op.name);
  check_reduction(reduction, op.name);
  check_weight(weight, x.sizes()[dim], op.name);
  WEFT_CHECK_TYPE(target.defined() && is_integral(target.dtype()), "{}: target must hold class indices (i64), got {}",
                  op.name, target);
  Dims expected = x.sizes();
  expected.erase(dim);
  WEFT_CHECK(target.sizes() == expected, "{}: target {} for input {}; expected shape {}", op.name, target, x, expected);
  const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor in[3] = {x, target.to(DType::i64), weight};
  Tensor out[3] = {detail::allocate(reduction == Reduction::none ? expected : Dims(),
                                    f32_result ? DType::f32 : x.dtype(), x.device()),
                   detail::allocate({target.numel(), 2}, wide, x.device()), detail::allocate({}, wide, x.device())};
  dispatch(op, in, out, ClassLossAttrs{dim, &op == &ClassLossOp::cross_entropy, reduction, ignore_index, smoothing});
  return out[0];
}

// Under Autocast these losses are f32. Their kernels compute in f32 whatever they read, so halves go in as they are:
// the bits of a cast, without the memory of logits and gradient in f32.
bool reads_halves(const OpRecord& op, const Tensor& x, const Tensor& target) {
  return detail::casts(op) && x.defined() && !detail::keeps_dtype(x) && itemsize(x.dtype()) == 2 && target.defined() &&
         is_integral(target.dtype());
}

// -sum_c target_c w_c log softmax(x)_c; the mean is over the rows.
Tensor of_probabilities(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o) {
  constexpr const char* op = "cross_entropy";
  const int dim = class_dim(x, op);
  const int64_t classes = x.sizes()[dim];
  check_reduction(o.reduction, op);
  check_weight(o.weight, classes, op);
  WEFT_CHECK(target.sizes() == x.sizes(),
             "cross_entropy: target {} for input {}; class probabilities need the shape of the input", target, x);
  WEFT_CHECK(o.ignore_index < 0, "cross_entropy: ignore_index {} needs class indices as target; got {}", o.ignore_index,
             target);
  Tensor terms = target;
  if (o.label_smoothing > 0)
    terms = terms.mul(1 - o.label_smoothing).add(o.label_smoothing / static_cast<double>(classes));
  if (o.weight.defined()) {
    Dims shape = Dims::filled(x.dim(), 1);
    shape[dim] = classes;
    terms = terms.mul(o.weight.reshape(shape));
  }
  Tensor losses = terms.mul(log_softmax(x, dim)).sum({.dim = dim}).neg();
  return detail::reduce_loss(losses, o.reduction);
}

}  // namespace

Tensor nll_loss(const Tensor& input, const Tensor& target, const NllOptions& o) {
  const bool halves = reads_halves(ClassLossOp::nll, input, target);
  if (detail::casts(ClassLossOp::nll) && !halves) [[unlikely]]
    return detail::cast_call(ClassLossOp::nll, nll_loss, input, target, o);
  return class_loss(ClassLossOp::nll, input, target, o.weight, o.reduction, o.ignore_index, 0.0, halves);
}

Tensor cross_entropy(const Tensor& input, const Tensor& target, const CrossEntropyOptions& o) {
  const bool halves = reads_halves(ClassLossOp::cross_entropy, input, target);
  if (detail::casts(ClassLossOp::cross_entropy) && !halves) [[unlikely]]
    return detail::cast_call(ClassLossOp::cross_entropy, weft::cross_entropy, input, target, o);
  WEFT_CHECK(o.label_smoothing >= 0 && o.label_smoothing <= 1,
             "cross_entropy: label_smoothing must lie in [0, 1], got {}", o.label_smoothing);
  if (target.defined() && is_floating(target.dtype())) return of_probabilities(input, target, o);
  return class_loss(ClassLossOp::cross_entropy, input, target, o.weight, o.reduction, o.ignore_index, o.label_smoothing,
                    halves);
}

}  // namespace weft
