#pragma once

#include "core/ops/record.h"

// Activations of torch.nn.functional. relu6 is Hardtanh(0, 6); selu is Elu.
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

struct LeakyRelu : Pointwise<1, 1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T slope) {
    return where(x > T(0), x, x * slope);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T slope) {
    return where(x > T(0), g, g * slope);
  }
};

// Leaky relu whose slope b is learnt.
struct Prelu : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::lower;
  static constexpr unsigned needs[2] = {kA | kB, kA};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return where(a > T(0), a, b * a);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return where(a > T(0), g, b * g);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T, T) {
    return where(a > T(0), T(0), g * a);
  }
};

struct Threshold : Pointwise<1, 2> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T threshold, T value) {
    return where(x <= threshold, value, x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T threshold, T) {
    return where(x <= threshold, T(0), g);
  }
};

struct Hardtanh : Pointwise<1, 2> {
  static constexpr Dtypes dtypes = Dtypes::numeric;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T low, T high) {
    return clamp(x, low, high);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T low, T high) {
    return where((x <= low) | (x >= high), T(0), g);
  }
};

struct Hardsigmoid : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return clamp(x + T(3), T(0), T(6)) / T(6);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    // PyTorch's 1/6 is a float, also in double.
    return where((x > T(-3)) & (x < T(3)), g * T(1.0f / 6.0f), T(0));
  }
};

// x hardsigmoid(x)
struct Hardswish : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return x * clamp(x + T(3), T(0), T(6)) / T(6);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    return where(x <= T(-3), T(0), where(x < T(3), g * (x / T(3) + T(0.5)), g));
  }
};

struct Hardshrink : Pointwise<1, 1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T lambd) {
    return where((x >= -lambd) & (x <= lambd), T(0), x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T lambd) {
    return where((x >= -lambd) & (x <= lambd), T(0), g);
  }
};

// x moved by lambd towards 0; NaN stays NaN.
struct Softshrink : Pointwise<1, 1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T lambd) {
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, x * T(0)));
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T lambd) {
    return where((x >= -lambd) & (x <= lambd), T(0), g);
  }
};

struct Tanhshrink : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return x - tanh(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T t = tanh(x);
    return g * (t * t);
  }
};

struct Softsign : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return x / (T(1) + abs(x));
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T d = T(1) + abs(x);
    return g / (d * d);
  }
};

// scale x where x > 0, else scale alpha (exp(input_scale x) - 1).
struct Elu : Pointwise<1, 3> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T alpha, T scale, T input_scale) {
    return where(x < T(0), expm1(x * input_scale) * (alpha * scale), x * scale);
  }
  // The bounded argument keeps exp finite where it is not used.
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T alpha, T scale, T input_scale) {
    T z = where(x <= T(0), x, T(0)) * input_scale;
    return where(x <= T(0), g * (input_scale * (alpha * scale)) * exp(z), g * scale);
  }
};

// x where x > 0, else alpha (exp(x / alpha) - 1). inverse = 1 / alpha; slope is the same for the gradient, which
// PyTorch rounds to float first.
struct Celu : Pointwise<1, 3> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T alpha, T inverse, T) {
    return where(x < T(0), expm1(x * inverse) * alpha, x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T alpha, T, T slope) {
    return where(x <= T(0), g * (slope * alpha) * exp(where(x <= T(0), x, T(0)) * slope), g);
  }
};

// x times the cumulative normal distribution.
struct Gelu : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return x * T(0.5) * (T(1) + erf(x * T(0.70710678118654752440)));
  }
  // cdf + x pdf
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T cdf = T(0.5) * (T(1) + erf(x * T(0.70710678118654752440)));
    T pdf = T(0.39894228040143267794) * exp(T(-0.5) * x * x);
    return g * (cdf + x * pdf);
  }
};

// 0.5 x (1 + tanh(u)) = x / (1 + 2^-z) with u = sqrt(2 / pi) (x + 0.044715 x^3), z = 2 u / ln(2)
struct GeluTanh : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  static constexpr double kLinear = 2.3022081981443249, kCubic = 0.10294323958002349;  // of z
  template <class T>
  WEFT_FN static T forward(T x) {
    return x * sigmoid2(x * fma(x * x, T(kCubic), T(kLinear)));
  }
  // s + x s' with s = 1 / (1 + 2^-z), s' = s (1 - s) (2 u)'
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T square = x * x;
    T s = sigmoid2(x * fma(square, T(kCubic), T(kLinear)));
    T slope = fma(square, T(0.21406444881780075), T(1.5957691216057307));
    return g * fma(x * slope, s * (T(1) - s), s);
  }
};

// x sigmoid(x)
struct Silu : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return x * sigmoid(x);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T s = sigmoid(x);
    return g * s * (T(1) + x * (T(1) - s));
  }
};

// x tanh(log(1 + exp(x))) = x n / (n + 2) with n = e (e + 2), e = exp(x); above 20 the quotient is 1 in every dtype.
struct Mish : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    T e = exp(where(x > T(20), T(20), x));
    T n = e * (e + T(2));
    return x * (n / (n + T(2)));
  }
  // t + x sigmoid(x) (1 - t^2), t = n / (n + 2)
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T e = exp(where(x > T(20), T(20), x));
    T n = e * (e + T(2));
    T t = n / (n + T(2));
    return g * (t + x * (e / (T(1) + e)) * (T(1) - t * t));
  }
};

// log(1 + exp(beta x)) / beta, and x where beta x > threshold.
struct Softplus : Pointwise<1, 2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x, T beta, T threshold) {
    T z = x * beta;
    return where(z > threshold, x, log1p(exp(where(z > threshold, T(0), z))) / beta);
  }
  template <class T>
  WEFT_FN static T backward(T g, T x, T, T beta, T threshold) {
    T z = x * beta;
    return where(z > threshold, g, g / (T(1) + exp(-z)));
  }
};

// log(sigmoid(x))
struct Logsigmoid : Pointwise<1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr unsigned needs[1] = {kA};
  template <class T>
  WEFT_FN static T forward(T x) {
    return min(x, T(0)) - log1p(exp(-abs(x)));
  }
  // sigmoid(-x) by z = exp(-|x|); the text of |x| has a one-sided derivative at 0, which keeps second derivatives right
  // there.
  template <class T>
  WEFT_FN static T backward(T g, T x, T) {
    T z = exp(where(x < T(0), x, -x));
    return g * (where(x < T(0), T(1), z) / (T(1) + z));
  }
};

}  // namespace weft::ops
