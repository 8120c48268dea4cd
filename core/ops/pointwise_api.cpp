#include "core/ops/pointwise_api.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/host_read.h"

namespace weft {
namespace {

namespace p = pointwise_ops;

Tensor unary(const PointwiseInfo& op, const Tensor& x, std::initializer_list<Scalar> params) {
  return pointwise(op, &x, params.begin());
}
Tensor binary(const PointwiseInfo& op, const Tensor& a, const Tensor& b, std::initializer_list<Scalar> params = {}) {
  return pointwise(op, detail::Borrowed(a, b), params.begin());
}
Tensor ternary(const PointwiseInfo& op, const Tensor& a, const Tensor& b, const Tensor& c,
               std::initializer_list<Scalar> params = {}) {
  return pointwise(op, detail::Borrowed(a, b, c), params.begin());
}
void check_alpha(Scalar alpha, const Tensor& a, const Tensor& b, const char* op) {
  if (alpha.is_integral()) return;
  DType t = result_type(a, b);
  WEFT_CHECK_TYPE(alpha.is_bool() ? t == DType::bool_ : is_floating(t),
                  "{}: alpha of this kind does not fit a {} result; give an integer", op, t);
}
void check_mask(const Tensor& mask, const char* op) {
  WEFT_CHECK_TYPE(mask.defined() && mask.dtype() == DType::bool_,
                  "{}: the condition must be bool, got {}; compare or use .to(DType::bool_)", op, mask);
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b, Scalar alpha) {
  check_alpha(alpha, a, b, "add");
  return binary(p::add, a, b, {alpha});
}
Tensor add(const Tensor& a, Scalar b, Scalar alpha) { return add(a, Tensor::wrap(b), alpha); }
Tensor add(Scalar a, const Tensor& b, Scalar alpha) { return add(Tensor::wrap(a), b, alpha); }
Tensor sub(const Tensor& a, const Tensor& b, Scalar alpha) {
  check_alpha(alpha, a, b, "sub");
  return binary(p::sub, a, b, {alpha});
}
Tensor sub(const Tensor& a, Scalar b, Scalar alpha) { return sub(a, Tensor::wrap(b), alpha); }
Tensor sub(Scalar a, const Tensor& b, Scalar alpha) { return sub(Tensor::wrap(a), b, alpha); }
Tensor rsub(const Tensor& a, const Tensor& b, Scalar alpha) {
  check_alpha(alpha, a, b, "rsub");
  return binary(p::rsub, a, b, {alpha});
}
Tensor rsub(const Tensor& a, Scalar b, Scalar alpha) { return rsub(a, Tensor::wrap(b), alpha); }

Tensor Tensor::add(const Tensor& o, Scalar alpha) const { return weft::add(*this, o, alpha); }
Tensor Tensor::add(Scalar o, Scalar alpha) const { return weft::add(*this, o, alpha); }
Tensor Tensor::sub(const Tensor& o, Scalar alpha) const { return weft::sub(*this, o, alpha); }
Tensor Tensor::sub(Scalar o, Scalar alpha) const { return weft::sub(*this, o, alpha); }
Tensor& Tensor::add_(const Tensor& o, Scalar alpha) {
  check_alpha(alpha, *this, o, "add_");
  return pointwise_(p::add, *this, &o, &alpha);
}
Tensor& Tensor::add_(Scalar o, Scalar alpha) { return add_(wrap(o), alpha); }
Tensor& Tensor::sub_(const Tensor& o, Scalar alpha) {
  check_alpha(alpha, *this, o, "sub_");
  return pointwise_(p::sub, *this, &o, &alpha);
}
Tensor& Tensor::sub_(Scalar o, Scalar alpha) { return sub_(wrap(o), alpha); }

Tensor div(const Tensor& a, const Tensor& b, Rounding rounding) {
  return rounding == Rounding::none ? div(a, b)
                                    : binary(rounding == Rounding::floor ? p::div_floor : p::div_trunc, a, b);
}
Tensor floor_divide(const Tensor& a, const Tensor& b) { return div(a, b, Rounding::floor); }
Tensor round(const Tensor& x, int64_t decimals) {
  if (decimals == 0) return unary(p::round, x, {});
  double scale = std::pow(10.0, static_cast<double>(std::llabs(decimals)));
  return unary(p::round_decimals, x, {Scalar(decimals > 0 ? scale : 1.0), Scalar(decimals > 0 ? 1.0 : scale)});
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  WEFT_CHECK_TYPE(condition.defined() && (condition.dtype() == DType::bool_ || condition.dtype() == DType::u8),
                  "where: the condition must be bool, got {}; compare or use .to(DType::bool_)", condition);
  return ternary(p::where, condition, a, b);
}
Tensor where(const Tensor& condition, const Tensor& a, Scalar b) { return where(condition, a, Tensor::wrap(b)); }
Tensor where(const Tensor& condition, Scalar a, const Tensor& b) { return where(condition, Tensor::wrap(a), b); }
Tensor where(const Tensor& condition, Scalar a, Scalar b) { return where(condition, Tensor::wrap(a), Tensor::wrap(b)); }
Tensor Tensor::where(const Tensor& condition, const Tensor& other) const {
  return weft::where(condition, *this, other);
}
Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  check_mask(mask, "masked_fill");
  WEFT_CHECK_TYPE(!value.is_floating() || is_floating(x.dtype()), "masked_fill: a {} value does not fit {}",
                  value.dtype(), x);
  return binary(p::masked_fill, x, mask, {value});
}
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value) {
  check_mask(mask, "masked_fill");
  WEFT_CHECK(value.defined() && value.dim() == 0, "masked_fill: value must be a number or a 0-dim tensor, got {}",
             value);
  WEFT_CHECK_TYPE(!is_floating(value.dtype()) || is_floating(x.dtype()), "masked_fill: a {} value does not fit {}",
                  value.dtype(), x);
  return where(mask, value.to(x.dtype()), x);
}
Tensor Tensor::masked_fill(const Tensor& mask, Scalar value) const { return weft::masked_fill(*this, mask, value); }
Tensor& Tensor::masked_fill_(const Tensor& mask, Scalar value) {
  check_mask(mask, "masked_fill_");
  WEFT_CHECK_TYPE(!value.is_floating() || is_floating(dtype()), "masked_fill_: a {} value does not fit {}",
                  value.dtype(), *this);
  return pointwise_(p::masked_fill, *this, &mask, &value);
}

Tensor clamp(const Tensor& x, std::optional<Scalar> min, std::optional<Scalar> max) {
  WEFT_CHECK(min || max, "clamp: needs min, max or both");
  if (min && max) return ternary(p::clamp, x, Tensor::wrap(*min), Tensor::wrap(*max));
  return min ? clamp_min(x, *min) : clamp_max(x, *max);
}
Tensor clamp(const Tensor& x, const Tensor& min, const Tensor& max) {
  WEFT_CHECK(min.defined() || max.defined(), "clamp: needs min, max or both");
  if (min.defined() && max.defined()) return ternary(p::clamp, x, min, max);
  return min.defined() ? clamp_min(x, min) : clamp_max(x, max);
}
Tensor Tensor::clamp(std::optional<Scalar> min, std::optional<Scalar> max) const {
  return weft::clamp(*this, min, max);
}
Tensor& Tensor::clamp_(std::optional<Scalar> min, std::optional<Scalar> max) {
  WEFT_CHECK(min || max, "clamp_: needs min, max or both");
  if (!min) return clamp_max_(*max);
  if (!max) return clamp_min_(*min);
  const Tensor bounds[2] = {wrap(*min), wrap(*max)};
  return pointwise_(p::clamp, *this, bounds);
}
Tensor lerp(const Tensor& start, const Tensor& end, Scalar weight) { return lerp(start, end, Tensor::wrap(weight)); }
Tensor Tensor::lerp(const Tensor& end, Scalar weight) const { return weft::lerp(*this, end, weight); }
Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, Scalar value) {
  return ternary(p::addcmul, x, a, b, {value});
}
Tensor addcdiv(const Tensor& x, const Tensor& a, const Tensor& b, Scalar value) {
  return ternary(p::addcdiv, x, a, b, {value});
}
Tensor Tensor::addcmul(const Tensor& a, const Tensor& b, Scalar value) const {
  return weft::addcmul(*this, a, b, value);
}
Tensor Tensor::addcdiv(const Tensor& a, const Tensor& b, Scalar value) const {
  return weft::addcdiv(*this, a, b, value);
}
Tensor& Tensor::addcmul_(const Tensor& a, const Tensor& b, Scalar value) {
  return pointwise_(p::addcmul, *this, detail::Borrowed(a, b), &value);
}
Tensor& Tensor::addcdiv_(const Tensor& a, const Tensor& b, Scalar value) {
  return pointwise_(p::addcdiv, *this, detail::Borrowed(a, b), &value);
}
Tensor positive(const Tensor& x) {
  WEFT_CHECK_TYPE(x.dtype() != DType::bool_, "positive: not defined for bool; convert with .to(DType::u8)");
  return x;
}
Tensor bitwise_not(const Tensor& x) {
  return x.dtype() == DType::bool_ ? logical_not(x) : unary(p::bitwise_not, x, {});
}

namespace {
double largest(DType t) {
  switch (t) {
    case DType::f64:
      return std::numeric_limits<double>::max();
    case DType::bf16:
      return 3.38953138925153547590470800371487866880e38;
    case DType::f16:
      return 65504.0;
    default:
      return std::numeric_limits<float>::max();
  }
}
}  // namespace
Tensor nan_to_num(const Tensor& x, std::optional<double> nan, std::optional<double> posinf,
                  std::optional<double> neginf) {
  double top = largest(x.dtype());
  return unary(p::nan_to_num, x, {nan.value_or(0.0), posinf.value_or(top), neginf.value_or(-top)});
}
Tensor isclose(const Tensor& a, const Tensor& b, double rtol, double atol, bool equal_nan) {
  WEFT_CHECK_TYPE(a.dtype() == b.dtype(), "isclose: {} and {} have different dtypes; convert one", a, b);
  WEFT_CHECK(rtol >= 0 && atol >= 0, "isclose: rtol {} and atol {} must not be negative", rtol, atol);
  return binary(p::isclose, a, b, {rtol, atol, equal_nan ? 1.0 : 0.0});
}
bool allclose(const Tensor& a, const Tensor& b, double rtol, double atol, bool equal_nan) {
  const detail::HostRead read("allclose: its result is a bool of the host");
  return isclose(a, b, rtol, atol, equal_nan).all().item().truth();
}
bool equal(const Tensor& a, const Tensor& b) {
  const detail::HostRead read("equal: its result is a bool of the host");
  return a.sizes() == b.sizes() && eq(a, b).all().item().truth();
}
Tensor Tensor::isclose(const Tensor& o, double rtol, double atol, bool equal_nan) const {
  return weft::isclose(*this, o, rtol, atol, equal_nan);
}
bool Tensor::allclose(const Tensor& o, double rtol, double atol, bool equal_nan) const {
  return weft::allclose(*this, o, rtol, atol, equal_nan);
}
bool Tensor::equal(const Tensor& o) const { return weft::equal(*this, o); }
Tensor logit(const Tensor& x, std::optional<double> eps) {
  return unary(p::logit, x,
               {Scalar(eps ? *eps : -std::numeric_limits<double>::infinity()),
                Scalar(eps ? 1 - *eps : std::numeric_limits<double>::infinity())});
}

Tensor gelu(const Tensor& x, GeluOptions o) {
  WEFT_CHECK(o.approximate == "none" || o.approximate == "tanh",
             "gelu: approximate is \"{}\"; use \"none\" or \"tanh\"", o.approximate);
  return unary(o.approximate == "tanh" ? p::gelu_tanh : p::gelu, x, {});
}
Tensor leaky_relu(const Tensor& x, double negative_slope) { return unary(p::leaky_relu, x, {negative_slope}); }
Tensor prelu(const Tensor& x, const Tensor& weight) {
  WEFT_CHECK(weight.dim() <= 1, "prelu: weight must have one dimension at most, got {}", weight);
  if (weight.numel() == 1) return binary(p::prelu, x, weight.reshape({}));
  WEFT_CHECK(x.dim() >= 2 && x.size(1) == weight.numel(),
             "prelu: weight {} for x {}; needs one value or one per channel (dim 1)", weight, x);
  Dims shape = Dims::filled(x.dim(), 1);
  shape[1] = weight.numel();
  return binary(p::prelu, x, weight.view(shape));
}
Tensor threshold(const Tensor& x, Scalar threshold, Scalar value) { return unary(p::threshold, x, {threshold, value}); }
Tensor hardtanh(const Tensor& x, Scalar min_val, Scalar max_val) {
  WEFT_CHECK(min_val.f64() <= max_val.f64(), "hardtanh: min_val {} is above max_val {}", min_val.f64(), max_val.f64());
  WEFT_CHECK_TYPE(x.dtype() != DType::bool_, "hardtanh: not defined for bool");
  return unary(p::hardtanh, x, {min_val, max_val});
}
Tensor relu6(const Tensor& x) { return hardtanh(x, 0, 6); }
Tensor hardshrink(const Tensor& x, double lambd) { return unary(p::hardshrink, x, {lambd}); }
Tensor softshrink(const Tensor& x, double lambd) {
  WEFT_CHECK(lambd >= 0, "softshrink: lambd must not be negative, got {}", lambd);
  return unary(p::softshrink, x, {lambd});
}
Tensor elu(const Tensor& x, double alpha) { return unary(p::elu, x, {alpha, 1.0, 1.0}); }
Tensor celu(const Tensor& x, double alpha) {
  WEFT_CHECK(alpha != 0, "celu: alpha must not be 0");
  return unary(p::celu, x, {alpha, 1.0 / alpha, 1.0 / static_cast<float>(alpha)});
}
Tensor selu(const Tensor& x) {
  return unary(p::elu, x, {1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0});
}
Tensor softplus(const Tensor& x, double beta, double threshold) { return unary(p::softplus, x, {beta, threshold}); }

}  // namespace weft
