#pragma once

#include "core/ops/math_exp.h"

// Logarithms and inverse hyperbolic functions: x = 2^e m with m in [sqrt(1/2), sqrt(2)), log(x) = e ln(2) + log(m).
namespace weft::math {

// m and e of a positive x, denormals included.
WEFT_FN float split_exponent(float x, float& e) {
  bool denormal = x < Format<float>::kMinNormal;
  u32 b = bits(where(denormal, x * 16777216.0f, x)) + (0x3f800000u - 0x3f3504f3u);
  e = float(i32(b >> 23) - 127) - where(denormal, 24.0f, 0.0f);
  return float_of_bits((b & 0x007fffffu) + 0x3f3504f3u);
}
WEFT_FN double split_exponent(double x, double& e) {
  bool denormal = x < Format<double>::kMinNormal;
  u64 b = bits(where(denormal, x * 18014398509481984.0, x)) + (0x3ff0000000000000ULL - 0x3fe6a09e667f3bcdULL);
  // The exponent as the low bits of 2^52 is a double again without a conversion from int64, which needs AVX-512.
  e = double_of_bits((b >> 52) | 0x4330000000000000ULL) - (4503599627370496.0 + 1023.0) - where(denormal, 54.0, 0.0);
  return double_of_bits((b & 0x000fffffffffffffULL) + 0x3fe6a09e667f3bcdULL);
}

// log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)).
WEFT_FN float log_tail(float f) {
  float p = poly(f, 0.333333313f, -0.250008255f, 0.200012654f, -0.166232035f, 0.142006233f, -0.131607234f, 0.127715066f,
                 -0.0764668509f);
  return fma(f * p, f * f, -0.5f * (f * f));
}
// s = f / (2 + f), log(1 + f) = 2 s + s z R(z), z = s^2; written as f - (h - s (h + z R)) with h = f^2 / 2.
WEFT_FN double log_tail(double f) {
  double s = f / (2.0 + f);
  double z = s * s;
  double r = z * poly(z, 0.66666666666667351, 0.39999999999409391, 0.28571428743672889, 0.22222198430644455,
                      0.18183572259050845, 0.15313834790153635, 0.14798231191267419);
  double h = 0.5 * (f * f);
  return fma(s, h + r, -h);
}

// The logarithm's values off the positive numbers: -inf at 0, NaN below, inf and NaN as they are.
template <class T>
WEFT_FN T log_domain(T x, T zero, T y) {
  T special = where(x == zero, T(-kInf), where(x < zero, T(kNan), x));
  return where((x > zero) & (x < T(kInf)), y, special);
}

template <class T>
WEFT_FN T log_text(T x) {
  T e;
  T f = split_exponent(x, e) - T(1);
  T y = fma(e, Format<T>::kLn2Hi, f + fma(e, Format<T>::kLn2Lo, log_tail(f)));
  return log_domain(x, T(0), y);
}
WEFT_FN float log(float x) { return log_text(x); }
WEFT_FN double log(double x) { return log_text(x); }

// The same times log2(e), whose rest `low` keeps the leading product exact enough near 1.
template <class T>
WEFT_FN T log2_text(T x, T high, T low) {
  T e;
  T f = split_exponent(x, e) - T(1);
  return log_domain(x, T(0), e + fma(f, high, fma(f, low, log_tail(f) * high)));
}
WEFT_FN float log2(float x) { return log2_text(x, 1.44269502f, 1.92596303e-08f); }
WEFT_FN double log2(double x) { return log2_text(x, 1.4426950408889634, 2.0355273740931033e-17); }

// e log10(2) + log10(m)
template <class T>
WEFT_FN T log10_text(T x, T high, T low, T two_high, T two_low) {
  T e;
  T f = split_exponent(x, e) - T(1);
  T tail = fma(f, low, fma(e, two_low, log_tail(f) * high));
  return log_domain(x, T(0), fma(e, two_high, fma(f, high, tail)));
}
WEFT_FN float log10(float x) { return log10_text(x, 0.434294492f, -1.010305e-08f, 0.30103001f, -1.43209888e-08f); }
WEFT_FN double log10(double x) {
  return log10_text(x, 0.43429448190325182, 1.0983196502167651e-17, 0.3010299956639812, -2.8037281277851704e-18);
}

// log(u) + c / u, u = fl(1 + x), c = 1 + x - u.
template <class T>
WEFT_FN T log1p_text(T x) {
  T u = T(1) + x;
  T c = where(x < T(1), x - (u - T(1)), T(1) - (u - x));
  T e;
  T f = split_exponent(u, e) - T(1);
  T y = fma(e, Format<T>::kLn2Hi, f + (log_tail(f) + fma(e, Format<T>::kLn2Lo, c / u)));
  return where(abs(x) < Format<T>::kTiny, x, log_domain(x, T(-1), y));
}
WEFT_FN float log1p(float x) { return log1p_text(x); }
WEFT_FN double log1p(double x) { return log1p_text(x); }

// log(|x| + sqrt(x^2 + 1)) as log1p; beyond 2^54 that is log(2 |x|).
WEFT_FN double asinh(double x) {
  double a = abs(x);
  bool big = a > 18014398509481984.0;
  double square = a * a;
  double y = log1p(where(big, a, a + square / (1.0 + sqrt(square + 1.0))));
  return copysign(y + where(big, Format<double>::kLn2Hi, 0.0), x);
}
// log(x + sqrt(x^2 - 1)); NaN below 1.
WEFT_FN double acosh(double x) {
  bool big = x > 18014398509481984.0;
  double t = x - 1.0;
  double y = log1p(where(big, x, t + sqrt(t * (t + 2.0))));
  return where(x < 1.0, kNan, y + where(big, Format<double>::kLn2Hi, 0.0));
}
// log((1 + x) / (1 - x)) / 2
WEFT_FN double atanh(double x) {
  double a = abs(x);
  return copysign(0.5 * log1p((a + a) / (1.0 - a)), x);
}
WEFT_FN float asinh(float x) { return float(asinh(double(x))); }
WEFT_FN float acosh(float x) { return float(acosh(double(x))); }
WEFT_FN float atanh(float x) { return float(atanh(double(x))); }

}  // namespace weft::math
