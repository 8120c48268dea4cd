#pragma once

#include "core/ops/record.h"

// Arithmetic of one, two and three tensors: sums, products, quotients, powers, interpolation.
namespace weft::ops {

// a + alpha b
struct Add : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned passes = kA, scales = kB;
  template <class T>
  WEFT_FN static T forward(T a, T b, T alpha) {
    return a + alpha * b;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T, T) {
    return g;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T, T alpha) {
    return g * alpha;
  }
};

// a - alpha b
struct Sub : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::no_bool;
  static constexpr unsigned passes = kA;
  template <class T>
  WEFT_FN static T forward(T a, T b, T alpha) {
    return a - alpha * b;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T, T) {
    return g;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T, T alpha) {
    return -g * alpha;
  }
};

// b - alpha a
struct Rsub : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::no_bool;
  template <class T>
  WEFT_FN static T forward(T a, T b, T alpha) {
    return b - alpha * a;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T, T alpha) {
    return -g * alpha;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T, T) {
    return g;
  }
};

struct Mul : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kB, kA};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return a * b;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T b, T) {
    return g * b;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T, T) {
    return g * a;
  }
};

// True division: integers give floats.
struct Div : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return a / b;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T b, T) {
    return g / b;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return -g * ((a / b) / b);
  }
};

// Quotient rounded towards minus infinity: div(rounding_mode = "floor") and floor_divide.
struct DivFloor : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr bool divides = true;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return floor_div(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T) {
    return zeros_like(g);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T) {
    return zeros_like(g);
  }
};

// Quotient rounded towards zero: div(rounding_mode = "trunc").
struct DivTrunc : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr bool divides = true;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return trunc_div(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T) {
    return zeros_like(g);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T) {
    return zeros_like(g);
  }
};

// a - b floor(a / b): the sign of b, as Python's %.
struct Remainder : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr bool divides = true;
  static constexpr unsigned needs[2] = {0, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return remainder(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T) {
    return g;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return -g * floor_div(a, b);
  }
};

// a - b trunc(a / b): the sign of a, as C's fmod.
struct Fmod : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr bool divides = true;
  static constexpr unsigned needs[2] = {0, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return fmod(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T) {
    return g;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return -g * trunc_div(a, b);
  }
};

struct Pow : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB | kY};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return pow(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where(b == T(0), zeros_like(g), g * (b * pow(a, b - T(1))));
  }
  // log(0) counts as 0 where the power is flat: a = 0 with b >= 0.
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T y) {
    return g * where((a == T(0)) & (b >= T(0)), T(0), y * log(a));
  }
};

struct Square : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::counting;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return x * x;
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * (T(2) * x);
  }
};

struct Sqrt : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return sqrt(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g / (T(2) * y);
  }
};

struct Rsqrt : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return rsqrt(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return T(-0.5) * g * (y * y * y);
  }
};

struct Reciprocal : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return T(1) / x;
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return -g * (y * y);
  }
};

struct Neg : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  template <class T>
  WEFT_FN static T forward(T x) {
    return -x;
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return -g;
  }
};

// The gradient at 0 is 0.
struct Abs : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return abs(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * sign(x);
  }
};

// sqrt(a^2 + b^2) without overflow in between.
struct Hypot : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[2] = {kA | kY, kB | kY};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return hypot(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T, T y) {
    return g * (a / y);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T b, T y) {
    return g * (b / y);
  }
};

// a + value b c
struct Addcmul : Pointwise<3, 1> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr unsigned needs[3] = {0, kC, kB};
  template <class T>
  WEFT_FN static T forward(T a, T b, T c, T value) {
    return a + value * b * c;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T, T, T) {
    return g;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T c, T, T value) {
    return g * (c * value);
  }
  template <class T>
  WEFT_FN static T backward_c(T g, T, T b, T, T, T value) {
    return g * (b * value);
  }
};

// a + value b / c
struct Addcdiv : Pointwise<3, 1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[3] = {0, kC, kB | kC};
  template <class T>
  WEFT_FN static T forward(T a, T b, T c, T value) {
    return a + value * (b / c);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T, T, T) {
    return g;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T c, T, T value) {
    return g * (value / c);
  }
  template <class T>
  WEFT_FN static T backward_c(T g, T, T b, T c, T, T value) {
    return -g * (value * b / (c * c));
  }
};

// a + c (b - a), exact at c = 0 and at c = 1.
struct Lerp : Pointwise<3> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[3] = {kC, kC, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b, T c) {
    return where(abs(c) < T(0.5), a + c * (b - a), b - (b - a) * (T(1) - c));
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T c, T) {
    return g * (T(1) - c);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T c, T) {
    return g * c;
  }
  template <class T>
  WEFT_FN static T backward_c(T g, T a, T b, T, T) {
    return g * (b - a);
  }
};

// a log(b), and 0 where a is 0 (unless b is NaN).
struct Xlogy : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return xlogy(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where((a == T(0)) & (b <= T(0)), T(0), xlogy(g, b));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return g * a / b;
  }
};

// a log(1 + b), and 0 where a is 0 (unless b is NaN).
struct Xlog1py : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return xlog1py(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where((a == T(0)) & (b <= T(-1)), T(0), xlog1py(g, b));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return g * a / (b + T(1));
  }
};

// log(exp(a) + exp(b))
struct Logaddexp : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return logaddexp(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return g / (T(1) + exp(b - a));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return g / (T(1) + exp(a - b));
  }
};

// log2(2^a + 2^b)
struct Logaddexp2 : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return logaddexp2(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return g / (T(1) + exp2(b - a));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return g / (T(1) + exp2(a - b));
  }
};

// Greatest common divisor.
struct Gcd : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::integer;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return gcd(a, b);
  }
};

struct Deg2Rad : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  template <class T>
  WEFT_FN static T forward(T x) {
    return x * T(0.017453292519943295769);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return g * T(0.017453292519943295769);
  }
};

struct Rad2Deg : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  template <class T>
  WEFT_FN static T forward(T x) {
    return x * T(57.295779513082320877);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return g * T(57.295779513082320877);
  }
};

}  // namespace weft::ops
