#pragma once

#include "core/ops/record.h"

// Arithmetic of one and two tensors.
namespace weft::ops {

// a + alpha b
struct Add : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::any;
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
  static constexpr unsigned needs[2] = {kB, kB | kY};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return a / b;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T b, T) {
    return g / b;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T, T b, T y) {
    return -g * (y / b);
  }
};

}  // namespace weft::ops
