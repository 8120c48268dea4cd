#pragma once
#include "core/ops/pointwise_api.h"
#include "core/pointwise_loops.h"

// The Tensor carrier: evaluates the text of a record's gradient over Tensors, so that gradients of gradients come from
// the same text. A Var is a Tensor or a host number that allocates nothing.
namespace weft::detail {

struct Var {
  Tensor t;
  double s = 0;
  bool is_tensor = false;
  Var(const Tensor& v) : t(v), is_tensor(true) {}
  template <class T>
  requires std::is_arithmetic_v<T>
  explicit Var(T v) : s(static_cast<double>(v)) {}
  Tensor tensor() const { return is_tensor ? t : Tensor::wrap(s); }
};

// Both operands numbers: `number`; else the function on tensors.
template <class F, class N>
Var apply_binary(const Var& a, const Var& b, F f, N number) {
  if (!a.is_tensor && !b.is_tensor) return Var(number(a.s, b.s));
  return Var(f(a.tensor(), b.tensor()));
}

#define WEFT_VAR_OPERATOR(op, name)                                              \
  inline Var operator op(const Var& a, const Var& b) {                           \
    return apply_binary(                                                         \
        a, b, [](const Tensor& x, const Tensor& y) { return weft::name(x, y); }, \
        [](double x, double y) { return x op y; });                              \
  }
WEFT_VAR_OPERATOR(+, add)
WEFT_VAR_OPERATOR(-, sub)
WEFT_VAR_OPERATOR(*, mul)
WEFT_VAR_OPERATOR(/, div)
WEFT_VAR_OPERATOR(==, eq)
WEFT_VAR_OPERATOR(!=, ne)
WEFT_VAR_OPERATOR(<, lt)
WEFT_VAR_OPERATOR(<=, le)
WEFT_VAR_OPERATOR(>, gt)
WEFT_VAR_OPERATOR(>=, ge)
#undef WEFT_VAR_OPERATOR
inline Var operator-(const Var& a) { return a.is_tensor ? Var(weft::neg(a.t)) : Var(-a.s); }
inline Var operator&(const Var& a, const Var& b) { return Var(weft::logical_and(a.tensor(), b.tensor())); }
inline Var operator|(const Var& a, const Var& b) { return Var(weft::logical_or(a.tensor(), b.tensor())); }

#define WEFT_VAR_UNARY(name)                                                               \
  inline Var name(const Var& x) {                                                          \
    return x.is_tensor ? Var(weft::name(x.t)) : Var(static_cast<double>(math::name(x.s))); \
  }
WEFT_VAR_UNARY(abs)
WEFT_VAR_UNARY(sign)
WEFT_VAR_UNARY(isnan)
WEFT_VAR_UNARY(isinf)
WEFT_VAR_UNARY(isfinite)
WEFT_VAR_UNARY(signbit)
WEFT_VAR_UNARY(floor)
WEFT_VAR_UNARY(ceil)
WEFT_VAR_UNARY(trunc)
WEFT_VAR_UNARY(round)
WEFT_VAR_UNARY(sqrt)
WEFT_VAR_UNARY(rsqrt)
WEFT_VAR_UNARY(exp)
WEFT_VAR_UNARY(exp2)
WEFT_VAR_UNARY(expm1)
WEFT_VAR_UNARY(log)
WEFT_VAR_UNARY(log2)
WEFT_VAR_UNARY(log10)
WEFT_VAR_UNARY(log1p)
WEFT_VAR_UNARY(sin)
WEFT_VAR_UNARY(cos)
WEFT_VAR_UNARY(tan)
WEFT_VAR_UNARY(asin)
WEFT_VAR_UNARY(acos)
WEFT_VAR_UNARY(atan)
WEFT_VAR_UNARY(sinh)
WEFT_VAR_UNARY(cosh)
WEFT_VAR_UNARY(tanh)
WEFT_VAR_UNARY(sigmoid)
WEFT_VAR_UNARY(asinh)
WEFT_VAR_UNARY(acosh)
WEFT_VAR_UNARY(atanh)
WEFT_VAR_UNARY(erf)
WEFT_VAR_UNARY(erfc)
#undef WEFT_VAR_UNARY

#define WEFT_VAR_BINARY(word, name)                                              \
  inline Var word(const Var& a, const Var& b) {                                  \
    return apply_binary(                                                         \
        a, b, [](const Tensor& x, const Tensor& y) { return weft::name(x, y); }, \
        [](double x, double y) { return math::word(x, y); });                    \
  }
WEFT_VAR_BINARY(max, maximum)
WEFT_VAR_BINARY(min, minimum)
WEFT_VAR_BINARY(fmax, fmax)
WEFT_VAR_BINARY(fmin, fmin)
WEFT_VAR_BINARY(pow, pow)
WEFT_VAR_BINARY(atan2, atan2)
WEFT_VAR_BINARY(copysign, copysign)
WEFT_VAR_BINARY(fmod, fmod)
WEFT_VAR_BINARY(remainder, remainder)
WEFT_VAR_BINARY(hypot, hypot)
#undef WEFT_VAR_BINARY
inline Var floor_div(const Var& a, const Var& b) { return Var(weft::div(a.tensor(), b.tensor(), Rounding::floor)); }
inline Var trunc_div(const Var& a, const Var& b) { return Var(weft::div(a.tensor(), b.tensor(), Rounding::trunc)); }

inline Var where(const Var& condition, const Var& a, const Var& b) {
  if (!condition.is_tensor) return condition.s != 0 ? a : b;
  return Var(weft::where(condition.t, a.tensor(), b.tensor()));
}
inline Var clamp(const Var& x, const Var& low, const Var& high) { return min(max(x, low), high); }
inline Var sigmoid2(const Var& x) { return sigmoid(x * Var(0.69314718055994530942)); }
inline Var fma(const Var& a, const Var& b, const Var& c) { return a * b + c; }
inline Var zeros_like(const Var& x) { return x.is_tensor ? Var(weft::zeros_like(x.t)) : Var(0.0); }

template <class R, size_t... I, size_t... P>
Var apply_gradient(int which, const Var* x, [[maybe_unused]] const Var* p, std::index_sequence<I...>,
                   std::index_sequence<P...>) {
  if constexpr (R::arity == 1) {
    return R::backward(x[I]..., p[P]...);
  } else {
    if constexpr (!(R::constants & 1))
      if (which == 0) return R::backward_a(x[I]..., p[P]...);
    if constexpr (!(R::constants & 2))
      if (which == 1) return R::backward_b(x[I]..., p[P]...);
    if constexpr (R::arity > 2 && !(R::constants & 4))
      if (which == 2) return R::backward_c(x[I]..., p[P]...);
    return Var(0.0);
  }
}

template <class R>
Tensor differentiate(int which, const Tensor* values, const Scalar* params) {
  if constexpr (!R::differentiable) {
    return Tensor::wrap(0.0);
  } else {
    constexpr int kValues = R::arity + 2;
    auto value = [&](int k) { return k < kValues && values[k].defined() ? Var(values[k]) : Var(0.0); };
    auto param = [&](int k) { return Var(k < R::params ? params[k].f64() : 0.0); };
    const Var x[5] = {value(0), value(1), value(2), value(3), value(4)};
    const Var p[4] = {param(0), param(1), param(2), param(3)};
    return apply_gradient<R>(which, x, p, std::make_index_sequence<kValues>(), std::make_index_sequence<R::params>())
        .tensor();
  }
}

}  // namespace weft::detail
