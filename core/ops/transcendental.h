#pragma once

#include "core/ops/record.h"

// Exponentials, logarithms and their relatives.
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

struct Sigmoid : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return T(1) / (T(1) + exp(-x));
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return g * ((T(1) - y) * y);
  }
};

}  // namespace weft::ops
