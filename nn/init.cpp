#include "nn/init.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/thread_state.h"

namespace weft::nn::init {

Tensor& uniform_(Tensor& t, double a, double b, Generator* generator) {
  NoGrad guard;
  return t.uniform_(a, b, generator);
}
Tensor& normal_(Tensor& t, double mean, double std, Generator* generator) {
  NoGrad guard;
  return t.normal_(mean, std, generator);
}
namespace {
// Winitzki's closed form (error 2e-3), then Newton's steps on erf.
double inverse_erf(double y) {
  constexpr double a = 0.147, pi = 3.14159265358979324;
  const double l = std::log1p(-y * y), b = 2 / (pi * a) + l / 2;
  double x = std::copysign(std::sqrt(std::sqrt(b * b - l / a) - b), y);
  for (int i = 0; i < 3; ++i) x -= (std::erf(x) - y) * std::sqrt(pi) / 2 * std::exp(x * x);
  return x;
}
}  // namespace
// By inversion: uniform between the probabilities of a and b, through the inverse of the normal distribution.
Tensor& trunc_normal_(Tensor& t, double mean, double std, double a, double b, Generator* generator) {
  WEFT_CHECK(std > 0 && a < b, "trunc_normal_: needs std > 0 and a < b; got std {}, a {}, b {}", std, a, b);
  NoGrad guard;
  auto place = [&](double x) { return std::erf((x - mean) / std / std::sqrt(2.0)); };
  Tensor values =
      empty(t.sizes(), {.dtype = DType::f64, .device = DeviceType::cpu}).uniform_(place(a), place(b), generator);
  const detail::HostRead read("trunc_normal_: the host computes its values");
  double* v = detail::host_data<double>(values);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const double x = mean + std * std::sqrt(2.0) * inverse_erf(v[i]);
    v[i] = std::isnan(x) ? (v[i] < 0 ? a : b) : std::clamp(x, a, b);  // erf was +-1: beyond what a double tells apart
  }
  return t.copy_(values);
}
Tensor& constant_(Tensor& t, Scalar value) {
  NoGrad guard;
  return t.fill_(value);
}
Tensor& ones_(Tensor& t) { return constant_(t, 1); }
Tensor& zeros_(Tensor& t) { return constant_(t, 0); }

Tensor& eye_(Tensor& t) {
  WEFT_CHECK(t.dim() == 2, "eye_: needs a matrix; got {}", t);
  NoGrad guard;
  return t.copy_(eye(t.size(0), t.size(1), {.dtype = t.dtype(), .device = t.device()}));
}
Tensor& dirac_(Tensor& t, int64_t groups) {
  WEFT_CHECK(t.dim() >= 3 && t.dim() <= 5, "dirac_: needs 3 to 5 dimensions; got {}", t);
  WEFT_CHECK(groups > 0 && t.size(0) % groups == 0, "dirac_: {} output channels do not divide into {} groups",
             t.size(0), groups);
  NoGrad guard;
  t.zero_();
  const int64_t per_group = t.size(0) / groups;
  for (int64_t o = 0; o < t.size(0); ++o) {
    if (o % per_group >= t.size(1)) continue;
    Tensor at = t.select(0, o).select(0, o % per_group);
    while (at.dim() > 0) at = at.select(0, at.size(0) / 2);
    at.fill_(1);
  }
  return t;
}

std::pair<int64_t, int64_t> fan_in_and_fan_out(const Tensor& t) {
  WEFT_CHECK(t.dim() >= 2, "init: fans need at least 2 dimensions; got {}", t);
  int64_t field = 1;
  for (int d = 2; d < t.dim(); ++d) field *= t.size(d);
  return {t.size(1) * field, t.size(0) * field};
}
Tensor& xavier_uniform_(Tensor& t, double gain, Generator* generator) {
  auto [in, out] = fan_in_and_fan_out(t);
  const double bound = gain * std::sqrt(6.0 / static_cast<double>(in + out));
  return uniform_(t, -bound, bound, generator);
}
Tensor& xavier_normal_(Tensor& t, double gain, Generator* generator) {
  auto [in, out] = fan_in_and_fan_out(t);
  return normal_(t, 0, gain * std::sqrt(2.0 / static_cast<double>(in + out)), generator);
}

namespace {
double kaiming_deviation(const Tensor& t, const KaimingOptions& o) {
  auto [in, out] = fan_in_and_fan_out(t);
  const double fan = static_cast<double>(o.mode == FanMode::fan_in ? in : out);
  return calculate_gain(o.nonlinearity, o.a) / std::sqrt(fan);
}
}  // namespace
Tensor& kaiming_uniform_(Tensor& t, const KaimingOptions& o, Generator* generator) {
  if (t.numel() == 0) return t;
  const double bound = std::sqrt(3.0) * kaiming_deviation(t, o);
  return uniform_(t, -bound, bound, generator);
}
Tensor& kaiming_normal_(Tensor& t, const KaimingOptions& o, Generator* generator) {
  if (t.numel() == 0) return t;
  return normal_(t, 0, kaiming_deviation(t, o), generator);
}

// Q of a Gaussian matrix, by Gram-Schmidt done twice in f64 (twice is enough: Kahan, Parlett).
Tensor& orthogonal_(Tensor& t, double gain, Generator* generator) {
  WEFT_CHECK(t.dim() >= 2, "orthogonal_: needs at least 2 dimensions; got {}", t);
  NoGrad guard;
  if (t.numel() == 0) return t;
  const int64_t rows = t.size(0), cols = t.numel() / rows;
  const int64_t count = std::min(rows, cols), length = std::max(rows, cols);
  Tensor q = randn({count, length}, {.dtype = DType::f64, .device = DeviceType::cpu}, generator);
  for (int64_t i = 0; i < count; ++i) {
    Tensor v = q.select(0, i);
    for (int pass = 0; pass < 2 && i > 0; ++pass) {
      Tensor before = q.slice(0, 0, i);
      v.sub_(before.t().mv(before.mv(v)));
    }
    v.div_(v.norm());
  }
  if (rows > cols) q = q.t();
  return t.copy_(q.mul(gain).reshape(t.sizes()));
}
Tensor& sparse_(Tensor& t, double sparsity, double std, Generator* generator) {
  WEFT_CHECK(t.dim() == 2, "sparse_: needs a matrix; got {}", t);
  NoGrad guard;
  normal_(t, 0, std, generator);
  const int64_t zeros = static_cast<int64_t>(std::ceil(sparsity * static_cast<double>(t.size(0))));
  for (int64_t c = 0; c < t.size(1); ++c) {
    Tensor rows = randperm(t.size(0), {.device = t.device()}, generator).slice(0, 0, zeros), column = t.select(1, c);
    column.scatter_(0, rows, Scalar(0.0));
  }
  return t;
}

double calculate_gain(std::string_view name, std::optional<double> param) {
  for (std::string_view linear :
       {"linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid"})
    if (name == linear) return 1;
  if (name == "tanh") return 5.0 / 3;
  if (name == "relu") return std::sqrt(2.0);
  if (name == "selu") return 0.75;
  WEFT_CHECK(name == "leaky_relu",
             "calculate_gain: unknown nonlinearity \"{}\"; use linear, sigmoid, tanh, relu, leaky_relu or selu", name);
  const double slope = param.value_or(0.01);
  return std::sqrt(2.0 / (1 + slope * slope));
}

}  // namespace weft::nn::init
