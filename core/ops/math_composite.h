#pragma once

#include "core/ops/math_log.h"

// Words made of other words. Templates, so that a Tensor carrier shares the text.
namespace weft::math {

WEFT_FN float zeros_like(float) { return 0.0f; }
WEFT_FN double zeros_like(double) { return 0.0; }

// x log(y), and 0 where x is 0 unless y is NaN.
template <class T>
WEFT_FN T xlogy(T x, T y) {
  return where(isnan(y), y, where(x == T(0), T(0), x * log(y)));
}
// x log(1 + y), and 0 where x is 0 unless y is NaN.
template <class T>
WEFT_FN T xlog1py(T x, T y) {
  return where(isnan(y), y, where(x == T(0), T(0), x * log1p(y)));
}
// log(1 + exp(x)); above 40 that is x in every dtype.
template <class T>
WEFT_FN T softplus(T x) {
  return where(x > T(40), x, log1p(exp(where(x > T(40), T(0), x))));
}
// log(1 / (1 + exp(-x)))
template <class T>
WEFT_FN T log_sigmoid(T x) {
  return min(x, T(0)) - log1p(exp(-abs(x)));
}
// log(exp(a) + exp(b)); equal infinities stay.
template <class T>
WEFT_FN T logaddexp(T a, T b) {
  return where(isinf(a) & (a == b), a, max(a, b) + log1p(exp(-abs(a - b))));
}
// log2(2^a + 2^b)
template <class T>
WEFT_FN T logaddexp2(T a, T b) {
  return where(isinf(a) & (a == b), a, max(a, b) + log1p(exp2(-abs(a - b))) * T(1.4426950408889634074));
}

// sqrt(x^2 + y^2); infinite if either is, even beside a NaN.
WEFT_FN double hypot(double x, double y) {
  double a = max(abs(x), abs(y));
  double b = min(abs(x), abs(y));
  double ratio = b / where(a == 0.0, 1.0, a);
  return where(fmax(abs(x), abs(y)) == kInf, kInf, a * sqrt(fma(ratio, ratio, 1.0)));
}
WEFT_FN float hypot(float x, float y) {
  return where(fmax(abs(x), abs(y)) == float(kInf), float(kInf), float(sqrt(double(x) * x + double(y) * y)));
}

}  // namespace weft::math
