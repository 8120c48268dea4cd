#pragma once

#include "core/ops/record.h"

// Rounding, signs, bounds: functions that are piecewise linear or constant.
namespace weft::ops {

struct Floor : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  template <class T>
  WEFT_FN static T forward(T x) {
    return floor(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return zeros_like(g);
  }
};

struct Ceil : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  template <class T>
  WEFT_FN static T forward(T x) {
    return ceil(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return zeros_like(g);
  }
};

struct Trunc : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  template <class T>
  WEFT_FN static T forward(T x) {
    return trunc(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return zeros_like(g);
  }
};

// To the nearest integer, halves to even.
struct Round : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  template <class T>
  WEFT_FN static T forward(T x) {
    return round(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return zeros_like(g);
  }
};

// To d decimals: up = 10^d, down = 1; for negative d up = 1, down = 10^-d.
struct RoundDecimals : Pointwise<1, 2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  template <class T>
  WEFT_FN static T forward(T x, T up, T down) {
    return round(x * up / down) * down / up;
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T, T, T) {
    return zeros_like(g);
  }
};

struct Frac : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  template <class T>
  WEFT_FN static T forward(T x) {
    return x - trunc(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return g;
  }
};

// -1, 0 or 1; 0 for NaN. Also sgn.
struct Sign : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::any;
  template <class T>
  WEFT_FN static T forward(T x) {
    return sign(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T) {
    return zeros_like(g);
  }
};

// |a| with the sign of b.
struct Copysign : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kA | kY, 0};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return copysign(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T, T y) {
    return where(a == T(0), T(0), g * (y / a));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T) {
    return zeros_like(g);
  }
};

// 0, b or 1 where a is negative, zero or positive; 0 for NaN.
struct Heaviside : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return where(a == T(0), b, where(a > T(0), T(1), T(0)));
  }
};

// NaN wins; equal values share the gradient.
struct Maximum : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return max(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where(a < b, T(0), where(a == b, g * T(0.5), g));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return where(a > b, T(0), where(a == b, g * T(0.5), g));
  }
};

// NaN wins; equal values share the gradient.
struct Minimum : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return min(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where(a > b, T(0), where(a == b, g * T(0.5), g));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return where(a < b, T(0), where(a == b, g * T(0.5), g));
  }
};

// A number wins over NaN; of equal values a takes the gradient.
struct Fmax : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return fmax(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where((a >= b) | isnan(b), g, T(0));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return where((a >= b) | isnan(b), T(0), g);
  }
};

// A number wins over NaN; of equal values a takes the gradient.
struct Fmin : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return fmin(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where((a <= b) | isnan(b), g, T(0));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return where((a <= b) | isnan(b), T(0), g);
  }
};

// min(max(a, b), c): c wins where the bounds cross. The gradient passes at the bounds.
struct Clamp : Pointwise<3> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[3] = {kA | kB | kC, kA | kB | kC, kA | kB | kC};
  template <class T>
  WEFT_FN static T forward(T a, T b, T c) {
    return clamp(a, b, c);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T c, T) {
    return where((a >= b) & (a <= c), g, T(0));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T c, T) {
    return where((b < c) & (a < b), g, T(0));
  }
  template <class T>
  WEFT_FN static T backward_c(T g, T a, T b, T c, T) {
    return where((c < b) | (a > c), g, T(0));
  }
};

// max(a, b) whose gradient goes to a at the bound.
struct ClampMin : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return max(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where(a >= b, g, T(0));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return where(a < b, g, T(0));
  }
};

// min(a, b) whose gradient goes to a at the bound.
struct ClampMax : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return min(a, b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where(a <= b, g, T(0));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return where(a > b, g, T(0));
  }
};

// NaN, inf and -inf replaced by the three parameters.
struct NanToNum : Pointwise<1, 3> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T nan, T positive, T negative) {
    return where(isnan(x), nan, where(isinf(x), where(x > T(0), positive, negative), x));
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T, T, T) {
    return where(isfinite(x), g, T(0));
  }
};

// b where the condition a holds, else c.
struct Where : Pointwise<3> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned promotes = kB | kC;
  static constexpr unsigned constants = kA;
  static constexpr unsigned needs[3] = {0, kA, kA};
  template <class T>
  WEFT_FN static T forward(T a, T b, T c) {
    return where(a != T(0), b, c);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T, T, T) {
    return zeros_like(g);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T, T, T) {
    return where(a != T(0), g, T(0));
  }
  template <class T>
  WEFT_FN static T backward_c(T g, T a, T, T, T) {
    return where(a != T(0), T(0), g);
  }
};

// value where the mask b holds, else a.
struct MaskedFill : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr unsigned promotes = kA;
  static constexpr unsigned constants = kB;
  static constexpr unsigned needs[2] = {kB, 0};
  template <class T>
  WEFT_FN static T forward(T a, T b, T value) {
    return where(b != T(0), value, a);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T b, T, T) {
    return where(b != T(0), T(0), g);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T, T, T) {
    return zeros_like(g);
  }
};

}  // namespace weft::ops
