#pragma once

#include "core/ops/record.h"

// Comparisons, tests and bit operations; none has a gradient.
namespace weft::ops {

struct Eq : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return a == b;
  }
};

struct Ne : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return a != b;
  }
};

struct Lt : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return a < b;
  }
};

struct Le : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return a <= b;
  }
};

struct Gt : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return a > b;
  }
};

struct Ge : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return a >= b;
  }
};

struct Isnan : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T x) {
    return isnan(x);
  }
};

struct Isinf : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T x) {
    return isinf(x);
  }
};

struct Isfinite : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T x) {
    return isfinite(x);
  }
};

struct Signbit : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T x) {
    return signbit(x);
  }
};

struct Isposinf : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T x) {
    return isinf(x) & (x > T(0));
  }
};

struct Isneginf : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T x) {
    return isinf(x) & (x < T(0));
  }
};

// |a - b| <= atol + rtol |b|; infinities are close to themselves, NaN to NaN if equal_nan is not 0.
struct Isclose : Pointwise<2, 3> {
  static constexpr Dtypes dtypes = Dtypes::float_compare;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b, T rtol, T atol, T equal_nan) {
    T error = abs(a - b);
    T bound = atol + abs(rtol * b);
    bool nans = (equal_nan != T(0)) & (a != a) & (b != b);
    return (a == b) | nans | ((error <= bound) & (error - error == T(0)));
  }
};

struct LogicalAnd : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::logical;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return (a != T(0)) & (b != T(0));
  }
};

struct LogicalOr : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::logical;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return (a != T(0)) | (b != T(0));
  }
};

struct LogicalXor : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::logical;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T a, T b) {
    return (a != T(0)) != (b != T(0));
  }
};

struct LogicalNot : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::logical;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static bool forward(T x) {
    return x == T(0);
  }
};

struct BitwiseAnd : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::integral;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return a & b;
  }
};

struct BitwiseOr : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::integral;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return a | b;
  }
};

struct BitwiseXor : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::integral;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return a ^ b;
  }
};

// For bool tensors bitwise_not is LogicalNot.
struct BitwiseNot : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::integer;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T x) {
    return ~x;
  }
};

// a 2^b; 0 when b is negative or not less than the width.
struct ShiftLeft : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::integer;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return shift_left(a, b);
  }
};

// floor(a / 2^b); b that is negative or not less than the width leaves only the sign.
struct ShiftRight : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::integer;
  static constexpr bool differentiable = false;
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return shift_right(a, b);
  }
};

}  // namespace weft::ops
