#pragma once

#include "core/ops/record.h"

// Losses of torch.nn.functional before their reduction. a: input, b: target.
namespace weft::ops {

// (a - b)^2
struct MseLoss : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    T d = a - b;
    return d * d;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return g * (T(2) * (a - b));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return g * (T(-2) * (a - b));
  }
};

// |a - b|
struct L1Loss : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return abs(a - b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return g * sign(a - b);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return -g * sign(a - b);
  }
};

// d^2 / (2 beta) where d = |a - b| < beta, else d - beta / 2. beta > 0: 0 is L1Loss.
struct SmoothL1Loss : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b, T beta) {
    T d = abs(a - b);
    return where(d < beta, T(0.5) * d * d / beta, d - T(0.5) * beta);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T, T beta) {
    T d = a - b;
    return where(d <= -beta, -g, where(d >= beta, g, g * (d / beta)));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T, T beta) {
    T d = a - b;
    return where(d <= -beta, g, where(d >= beta, -g, -g * (d / beta)));
  }
};

// d^2 / 2 where d = |a - b| <= delta, else delta (d - delta / 2).
struct HuberLoss : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b, T delta) {
    T d = abs(a - b);
    return where(d <= delta, T(0.5) * d * d, delta * (d - T(0.5) * delta));
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T, T delta) {
    T d = a - b;
    return where(d <= -delta, -g * delta, where(d >= delta, g * delta, g * d));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T, T delta) {
    T d = a - b;
    return where(d <= -delta, g * delta, where(d >= delta, -g * delta, -g * d));
  }
};

// -(b log(a) + (1 - b) log(1 - a)), the logarithms bounded below by -100. a in [0, 1] is the caller's to check.
struct BinaryCrossEntropy : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kA | kB, kA};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return (b - T(1)) * max(log1p(-a), T(-100)) - b * max(log(a), T(-100));
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return g * ((a - b) / max((T(1) - a) * a, T(1e-12)));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T, T) {
    return g * (max(log1p(-a), T(-100)) - max(log(a), T(-100)));
  }
};

// BinaryCrossEntropy of sigmoid(a).
struct BceWithLogits : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kA | kB, kA};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return (T(1) - b) * a - log_sigmoid(a);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return g * (T(1) / (T(1) + exp(-a)) - b);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T, T) {
    return -g * a;
  }
};

// The same with positive examples weighted by c.
struct BceWithLogitsPosWeight : Pointwise<3> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[3] = {kA | kB | kC, kA | kC, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b, T c) {
    return (T(1) - b) * a - (T(1) + (c - T(1)) * b) * log_sigmoid(a);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T c, T) {
    T t = c * b;
    return g * ((t + T(1) - b) * (T(1) / (T(1) + exp(-a))) - t);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T, T c, T) {
    return g * (log_sigmoid(-a) - c * log_sigmoid(a));
  }
  template <class T>
  WEFT_FN static T backward_c(T g, T a, T b, T, T) {
    return -g * (b * log_sigmoid(a));
  }
};

// b (log(b) - a): a holds log-probabilities, b probabilities.
struct KlDiv : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return xlogy(b, b) - b * a;
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T b, T) {
    return -g * b;
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return xlogy(g, b) + g - g * a;
  }
};

// exp(b) (b - a): both hold log-probabilities.
struct KlDivLogTarget : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return exp(b) * (b - a);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T, T b, T) {
    return -g * exp(b);
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return g * (exp(b) * (b - a + T(1)));
  }
};

// log(1 + exp(-a b))
struct SoftMarginLoss : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::same_float;
  static constexpr Cast cast = Cast::f32;
  static constexpr unsigned needs[2] = {kA | kB, kA | kB};
  template <class T>
  WEFT_FN static T forward(T a, T b) {
    return softplus(-a * b);
  }
  template <class T>
  WEFT_FN static T backward_a(T g, T a, T b, T) {
    return -g * b / (T(1) + exp(a * b));
  }
  template <class T>
  WEFT_FN static T backward_b(T g, T a, T b, T) {
    return -g * a / (T(1) + exp(a * b));
  }
};

}  // namespace weft::ops
