#pragma once

#include "core/ops/record.h"

// Exponentials, logarithms, trigonometric and hyperbolic functions.
namespace weft::ops {

struct Exp : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return exp(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g * y;
  }
};

struct Exp2 : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return exp2(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g * y * T(0.69314718055994530942);
  }
};

struct Expm1 : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return expm1(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g * (y + T(1));
  }
};

struct Log : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return log(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g / x;
  }
};

struct Log2 : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return log2(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g / (x * T(0.69314718055994530942));
  }
};

struct Log10 : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return log10(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g / (x * T(2.3025850929940456840));
  }
};

struct Log1p : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return log1p(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g / (x + T(1));
  }
};

struct Sin : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return sin(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * cos(x);
  }
};

struct Cos : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return cos(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * -sin(x);
  }
};

struct Tan : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return tan(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g * (T(1) + y * y);
  }
};

struct Asin : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return asin(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * rsqrt(T(1) - x * x);
  }
};

struct Acos : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return acos(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * -rsqrt(T(1) - x * x);
  }
};

struct Atan : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return atan(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g / (x * x + T(1));
  }
};

// The angle of the point (b, a).
struct Atan2 : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return atan2(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return g * (b / (a * a + b * b));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return g * (-a / (a * a + b * b));
  }
};

struct Sinh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return sinh(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * cosh(x);
  }
};

struct Cosh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return cosh(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * sinh(x);
  }
};

struct Tanh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return tanh(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g * (T(1) - y * y);
  }
};

struct Asinh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return asinh(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * rsqrt(x * x + T(1));
  }
};

struct Acosh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return acosh(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * rsqrt(x * x - T(1));
  }
};

struct Atanh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return atanh(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * (T(1) / (T(1) - x * x));
  }
};

struct Erf : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return erf(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * (T(1.1283791670955125739) * exp(-(x * x)));
  }
};

struct Erfc : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return erfc(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return g * (T(-1.1283791670955125739) * exp(-(x * x)));
  }
};

struct Sigmoid : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return sigmoid(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g * ((T(1) - y) * y);
  }
};

// log(z / (1 - z)), z = x bounded to [low, high], outside of which the gradient is 0. With eps: low = eps,
// high = 1 - eps; without: low = -inf, high = inf.
struct Logit : Pointwise<1, 2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T low, T high) {
    T z = where(x < low, low, x);
    z = where(z > high, high, z);
    return log(z / (T(1) - z));
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T low, T high) {
    T inside = where((x < T(0)) | (x > T(1)), T(kNan), g / (x * (T(1) - x)));
    return where((x < low) | (x > high), zeros_like(g), inside);
  }
};

// sin(pi x) / (pi x)
struct Sinc : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    T p = T(3.1415926535897932385) * x;
    return where(x == T(0), T(1), sin(p) / where(x == T(0), T(1), p));
  }
  // (p cos p - sin p) / (p x), p = pi x
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T p = T(3.1415926535897932385) * x;
    return where(x == T(0), zeros_like(g), g * ((p * cos(p) - sin(p)) / where(x == T(0), T(1), p * x)));
  }
};

}  // namespace weft::ops
