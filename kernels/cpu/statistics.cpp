#include "core/ops/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/reduce_plan.h"

namespace weft::cpu {
namespace {

template <class T>
constexpr DType dtype_of = std::is_same_v<T, float> ? DType::f32 : DType::f64;

template <class T>
void write(const Tensor& out, const T* values) {
  converter(out.dtype(), dtype_of<T>)(out.data_ptr(), 1, values, 1, out.numel());
}

// All elements of each result combined; `empty` where there are none.
template <class T>
std::vector<T> combine(const Tensor& x, unsigned mask, Combining how, Prepare prepare, const T* centre,
                       double exponent = 1, T empty = 0) {
  ReducePlan plan(x, mask, dtype_of<T>, prepare);
  plan.centre = centre;
  plan.exponent = exponent;
  std::vector<T> values(static_cast<size_t>(plan.results), empty);
  if (plan.n > 0 && plan.results > 0) reduce_into(plan, how, values.data());
  return values;
}

template <class T>
void var_as(const OpCall& c) {
  const auto& a = c.as<VarOp::Attrs>();
  const Tensor& x = c.in[0];
  const T n = static_cast<T>(detail::reduced_count(x.sizes(), a.reduce.mask));
  std::vector<T> mean = combine<T>(x, a.reduce.mask, Combining::sum, Prepare::none, nullptr);
  for (T& m : mean) m /= n;
  std::vector<T> square = combine<T>(x, a.reduce.mask, Combining::sum, Prepare::centred_square, mean.data());
  const T divisor = static_cast<T>(std::max(0.0, static_cast<double>(n) - a.correction));
  for (T& s : square) s = a.root ? std::sqrt(s / divisor) : s / divisor;
  write(c.out[0], square.data());
  write(c.out[1], mean.data());
}

template <class T>
void norm_as(const OpCall& c) {
  const auto& a = c.as<NormOp::Attrs>();
  const bool infinite = std::isinf(a.p);
  const Combining how = !infinite ? Combining::sum : a.p > 0 ? Combining::max : Combining::min;
  // The norm of one value is its absolute value, without the rounding of powers.
  const bool single = detail::reduced_count(c.in[0].sizes(), a.reduce.mask) == 1;
  const Prepare prepare = a.p == 0                         ? Prepare::truth
                          : a.p == 1 || infinite || single ? Prepare::absolute
                          : a.p == 2                       ? Prepare::square
                                                           : Prepare::power;
  std::vector<T> y = combine<T>(c.in[0], a.reduce.mask, how, prepare, nullptr, a.p);
  if (prepare == Prepare::square)
    for (T& v : y) v = std::sqrt(v);
  if (prepare == Prepare::power)
    for (T& v : y) v = std::pow(v, static_cast<T>(1 / a.p));
  write(c.out[0], y.data());
}

template <class T>
void logsumexp_as(const OpCall& c) {
  const unsigned mask = c.as<ReduceAttrs>().mask;
  std::vector<T> largest = combine<T>(c.in[0], mask, Combining::max, Prepare::none, nullptr);
  for (T& m : largest)
    if (std::isinf(m)) m = 0;
  std::vector<T> total = combine<T>(c.in[0], mask, Combining::sum, Prepare::centred_exp, largest.data());
  for (size_t i = 0; i < total.size(); ++i) total[i] = std::log(total[i]) + largest[i];
  write(c.out[0], total.data());
}

}  // namespace

void var(const OpCall& c) { c.in[0].dtype() == DType::f64 ? var_as<double>(c) : var_as<float>(c); }
void norm(const OpCall& c) { c.out[0].dtype() == DType::f64 ? norm_as<double>(c) : norm_as<float>(c); }
void logsumexp(const OpCall& c) { c.out[0].dtype() == DType::f64 ? logsumexp_as<double>(c) : logsumexp_as<float>(c); }

}  // namespace weft::cpu
