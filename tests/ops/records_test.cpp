// Every pointwise record: its gradients against central differences of its own forward text, in double.
#include <algorithm>
#include <cmath>
#include <random>
#include <string_view>
#include <type_traits>

#include "core/ops/activation.h"
#include "core/ops/arithmetic.h"
#include "core/ops/compare.h"
#include "core/ops/loss.h"
#include "core/ops/rounding.h"
#include "core/ops/transcendental.h"
#include "tests/catch.h"

namespace {

using namespace weft;
using ops::Dtypes;

// Where a record's inputs are drawn from, and its parameters.
struct Sample {
  double low[3] = {-2.5, -2.5, -2.5}, high[3] = {2.5, 2.5, 2.5};
  double params[3] = {0.7, 1.3, 0.4};
};

Sample positive(int count = 1) {
  Sample s;
  for (int i = 0; i < count; ++i) s.low[i] = 0.1;
  return s;
}
Sample parameters(double p, double q = 0, double r = 0) { return {.params = {p, q, r}}; }
Sample unit() { return {.low = {-0.9, -0.9, -0.9}, .high = {0.9, 0.9, 0.9}}; }

Sample sample_of(std::string_view op) {
  if (op == "log" || op == "log2" || op == "log10" || op == "sqrt" || op == "rsqrt" || op == "pow") return positive();
  if (op == "log1p") return unit();
  if (op == "asin" || op == "acos" || op == "atanh") return unit();
  if (op == "acosh") return {.low = {1.1}, .high = {4}};
  if (op == "xlogy") return {.low = {-2, 0.1}, .high = {2, 3}};
  if (op == "xlog1py") return {.low = {-2, -0.8}, .high = {2, 3}};
  if (op == "logit") return {.low = {0.02}, .high = {0.98}, .params = {0.1, 0.9}};
  if (op == "binary_cross_entropy_none") return {.low = {0.05, 0}, .high = {0.95, 1}};
  if (op == "kl_div_none") return {.low = {-2, 0.1}, .high = {0, 1}};
  if (op == "hardtanh") return parameters(-1, 1.5);
  if (op == "hardsigmoid" || op == "hardswish") return {.low = {-5}, .high = {5}};
  if (op == "threshold") return parameters(0.3, -1);
  if (op == "softplus") return parameters(1.5, 3);
  if (op == "elu") return parameters(1.2, 1.1, 0.9);
  if (op == "celu") return parameters(1.25, 0.8, 0.8);
  if (op == "round_decimals") return parameters(100, 1);
  return {};
}

template <class R, int... I, int... P>
double forward(const double* x, const double* p, std::integer_sequence<int, I...>, std::integer_sequence<int, P...>) {
  return R::forward(x[I]..., p[P]...);
}
template <class R, int... P>
double gradient(int which, const double* x, double y, const double* p, std::integer_sequence<int, P...>) {
  const double g = 1.25;
  if constexpr (R::arity == 1) {
    return R::backward(g, x[0], y, p[P]...);
  } else if constexpr (R::arity == 2) {
    return which == 0 ? R::backward_a(g, x[0], x[1], y, p[P]...) : R::backward_b(g, x[0], x[1], y, p[P]...);
  } else {
    return which == 0   ? R::backward_a(g, x[0], x[1], x[2], y, p[P]...)
           : which == 1 ? R::backward_b(g, x[0], x[1], x[2], y, p[P]...)
                        : R::backward_c(g, x[0], x[1], x[2], y, p[P]...);
  }
}

template <class R>
void check_record(std::string_view op) {
  if constexpr (R::differentiable) {
    using Inputs = std::make_integer_sequence<int, R::arity>;
    using Params = std::make_integer_sequence<int, R::params>;
    const Sample s = sample_of(op);
    std::mt19937_64 random(7);
    int wrong = 0;
    for (int trial = 0; trial < 200; ++trial) {
      double x[3] = {};
      for (int i = 0; i < R::arity; ++i) x[i] = std::uniform_real_distribution<double>(s.low[i], s.high[i])(random);
      if (op == "where") x[0] = trial & 1;
      if (op == "masked_fill") x[1] = trial & 1;
      const double y = forward<R>(x, s.params, Inputs(), Params());
      for (int i = 0; i < R::arity; ++i) {
        if (R::constants >> i & 1) continue;
        // What the record does not declare as needed must not matter.
        double seen[3] = {};
        for (int k = 0; k < R::arity; ++k) seen[k] = R::needs[i] >> k & 1 ? x[k] : math::kNan;
        double got = gradient<R>(i, seen, R::needs[i] & ops::kY ? y : math::kNan, s.params, Params());
        const double h = 1e-6;
        double up[3] = {x[0], x[1], x[2]}, down[3] = {x[0], x[1], x[2]};
        up[i] += h;
        down[i] -= h;
        double want = 1.25 *
                      (forward<R>(up, s.params, Inputs(), Params()) - forward<R>(down, s.params, Inputs(), Params())) /
                      (2 * h);
        bool near_kink = std::abs(want) > 1e4;
        if (!near_kink && !(std::abs(got - want) <= 1e-7 + 1e-6 * std::abs(want))) {
          ++wrong;
          UNSCOPED_INFO(op << " input " << i << " at " << x[0] << ", " << x[1] << ": " << got << ", differences give "
                           << want);
        }
      }
    }
    CHECK(wrong == 0);
  }
}

}  // namespace

TEST_CASE("gradients of all pointwise records match differences") {
#define WEFT_POINTWISE(Record, name) check_record<ops::Record>(#name);
#define WEFT_UNARY WEFT_POINTWISE
#define WEFT_BINARY WEFT_POINTWISE
#define WEFT_TERNARY WEFT_POINTWISE
#include "core/ops/pointwise.def"
#undef WEFT_POINTWISE
}

TEST_CASE("gradients at kinks, ties and ends are PyTorch's") {
  const double inf = math::kInf, nan = math::kNan;
  CHECK(ops::Abs::backward(1.0, 0.0, 0.0) == 0);
  CHECK(ops::Relu::backward(1.0, nan, 0.0) == 0);
  CHECK(ops::Maximum::backward_a(1.0, 2.0, 2.0, nan) == 0.5);
  CHECK(ops::Minimum::backward_b(1.0, 2.0, 2.0, nan) == 0.5);
  CHECK(ops::Fmax::backward_a(1.0, 2.0, 2.0, nan) == 1);
  CHECK(ops::Fmax::backward_b(1.0, nan, 2.0, nan) == 1);
  CHECK(ops::Clamp::backward_a(1.0, 2.0, 2.0, 3.0, nan) == 1);
  CHECK(ops::Clamp::backward_b(1.0, 1.0, 3.0, 2.0, nan) == 0);
  CHECK(ops::Clamp::backward_c(1.0, 1.0, 3.0, 2.0, nan) == 1);
  CHECK(ops::ClampMin::backward_a(1.0, 2.0, 2.0, nan) == 1);
  CHECK(ops::Hardtanh::backward(1.0, 1.0, nan, -1.0, 1.0) == 0);
  CHECK(ops::Hardswish::backward(1.0, 3.0, nan) == 1);
  CHECK(ops::Threshold::backward(1.0, 0.5, nan, 0.5, 7.0) == 0);
  CHECK(ops::LeakyRelu::backward(1.0, 0.0, nan, 0.1) == 0.1);
  CHECK(ops::Pow::backward_a(1.0, 0.0, 0.0, nan) == 0);
  CHECK(ops::Pow::backward_b(1.0, 0.0, 2.0, 0.0) == 0);
  CHECK(ops::Pow::backward_b(1.0, 0.0, -1.0, inf) == -inf);
  CHECK(ops::Xlogy::backward_a(1.0, 0.0, 0.0, nan) == 0);
  CHECK(ops::L1Loss::backward_a(1.0, 2.0, 2.0, nan) == 0);
  CHECK(ops::Softplus::backward(1.0, 30.0, nan, 1.0, 20.0) == 1);
  CHECK(ops::Elu::backward(1.0, 1000.0, nan, 1.0, 1.0, 1.0) == 1);
  CHECK(ops::Mish::backward(1.0, 1000.0, nan) == 1);
  CHECK(ops::Logsigmoid::backward(1.0, -1000.0, nan) == 1);
  CHECK(ops::NanToNum::backward(1.0, inf, nan, 0.0, 1.0, 2.0) == 0);
}
