#pragma once

#include "core/ops/record.h"

// Activations of torch.nn.functional.
namespace weft::ops {

// max(x, 0); NaN stays NaN; the gradient at 0 is 0.
struct Relu : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr unsigned needs[1] = {kY};
  template <class T>
  WEFT_FN static T forward(T x) {
    return where(x < T(0), T(0), x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T, T y) {
    return where(y <= T(0), T(0), g);
  }
};

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
struct GeluTanh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    T inner = T(0.79788456080286535588) * (x + T(0.044715) * (x * x * x));
    return T(0.5) * x * (T(1) + tanh(inner));
  }
  // 0.5 (1 + t) + 0.5 x (1 - t^2) sqrt(2 / pi) (1 + 3 * 0.044715 x^2)
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T square = x * x;
    T t = tanh(T(0.79788456080286535588) * (x + T(0.044715) * (square * x)));
    T slope = T(0.79788456080286535588) * (T(1) + T(0.134145) * square);
    return g * (T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * slope);
  }
};

}  // namespace weft::ops
