#pragma once

#include "core/ops/math_basic.h"

// Exponentials and hyperbolic functions: reduction to |r| <= ln(2) / 2, a minimax polynomial, a scale 2^k.
namespace weft::math {

// c0 + c1 z + c2 z^2 + ..., by Horner's rule.
template <class T>
WEFT_FN T poly(T, T c0) {
  return c0;
}
template <class T, class... C>
WEFT_FN T poly(T z, T c0, C... c) {
  return fma(poly(z, c...), z, c0);
}

// Constants that depend on the format. kMagic: adding it rounds to an integer, which then stands in the low bits.
template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  static constexpr float kMinNormal = 1.17549435e-38f, kTiny = 5.9604645e-8f;
  static constexpr float kLn2Hi = 0.693147182f, kLn2Lo = -1.90465421e-9f;
  static constexpr float kExpLimit = 104.0f;                     // beyond: 0 and infinite, also after a factor 1/2
  static constexpr float kExpZero = 88.03f, kExp2Zero = 127.0f;  // of their negatives power_of_two() makes 0
  static constexpr float kTanhHigh = 10.0f, kExpm1Low = -18.0f, kExpm1High = 88.73f;
};
template <>
struct Format<double> {
  static constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kMinNormal = 2.2250738585072014e-308, kTiny = 1.1102230246251565e-16;
  static constexpr double kLn2Hi = 0.69314718055994529, kLn2Lo = 2.3190468138462996e-17;
  static constexpr double kExpLimit = 746.0;
  static constexpr double kExpZero = 709.1, kExp2Zero = 1023.0;
  static constexpr double kTanhHigh = 20.0, kExpm1Low = -38.0, kExpm1High = 709.79;
};

// 2^k of t = k + kMagic, for a normal result.
WEFT_FN float power_of_two(float t) { return float_of_bits((bits(t) + 127u) << 23); }
WEFT_FN double power_of_two(double t) { return double_of_bits((bits(t) + 1023u) << 52); }
// The nearest integer plus kMagic, |x| < 2^22 (2^51).
template <class T>
WEFT_FN T nearest(T x) {
  return x + Format<T>::kMagic;
}
// p 2^k, t = k + kMagic, |k| < 2^8 (2^11); two factors, so that overflow and denormals round once.
WEFT_FN float scale(float p, float t) {
  i32 k = i32(bits(t) << 23), half = (k >> 1) & i32(0xff800000u);
  return p * float_of_bits(u32(half) + 0x3f800000u) * float_of_bits(u32(k) - u32(half) + 0x3f800000u);
}
WEFT_FN double scale(double p, double t) {
  i64 k = i64(bits(t) << 52), half = (k >> 1) & i64(0xfff0000000000000ULL);
  constexpr u64 kOne = 0x3ff0000000000000ULL;
  return p * double_of_bits(u64(half) + kOne) * double_of_bits(u64(k) - u64(half) + kOne);
}
// x between -high and high; NaN passes: as an integer it would be the largest magnitude, so the largest number is moved
// to the end of the signed integers, and NaN beyond. Minima of integers cost less than selects in a vector loop.
WEFT_FN float limit(float x, float high) {
  constexpr u32 kShift = 0x007fffffu;
  i32 a = i32((bits(x) & 0x7fffffffu) + kShift), b = i32(bits(high) + kShift);
  return float_of_bits((u32(a < b ? a : b) - kShift) | (bits(x) & 0x80000000u));
}
WEFT_FN double limit(double x, double high) {
  constexpr u64 kShift = 0x000fffffffffffffULL;
  i64 a = i64((bits(x) & 0x7fffffffffffffffULL) + kShift), b = i64(bits(high) + kShift);
  return double_of_bits((u64(a < b ? a : b) - kShift) | (bits(x) & 0x8000000000000000ULL));
}

// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2.
WEFT_FN float exp_tail(float r) {
  return poly(r, 0.49999997f, 0.16666539f, 0.0416677445f, 0.00836704019f, 0.0013839961f);
}
WEFT_FN double exp_tail(double r) {
  return poly(r, 0.5, 0.16666666666666677, 0.041666666666666713, 0.0083333333333202898, 0.0013888888888842193,
              0.00019841269889907677, 2.4801587440901856e-05, 2.7557240080059504e-06, 2.7557149194636215e-07,
              2.5110570880938264e-08, 2.0960458408855548e-09);
}
// (2^r - 1) / r for |r| <= 1/2.
WEFT_FN float exp2_tail(float r) {
  return poly(r, 0.693147242f, 0.240226552f, 0.0555027239f, 0.00961706322f, 0.00134181615f, 0.000158213923f);
}
WEFT_FN double exp2_tail(double r) {
  return poly(r, 0.69314718055994529, 0.24022650695910172, 0.055504108664824574, 0.00961812910757711,
              0.0013333558145568046, 0.00015403530478805163, 1.5252734737336145e-05, 1.3215424507074811e-06,
              1.0177656386662501e-07, 7.0756126994533533e-09, 4.5192650688454512e-10);
}

// exp(x) as 2^k (1 + p): returns p; t is k + kMagic.
template <class T>
WEFT_FN T exp_reduced(T x, T& t, T low) {
  t = fma(x, T(1.4426950408889634074), Format<T>::kMagic);
  T k = t - Format<T>::kMagic;
  T r = fma(-k, Format<T>::kLn2Lo, fma(-k, Format<T>::kLn2Hi, x)) + low;
  return fma(r * r, exp_tail(r), r);
}
template <class T>
WEFT_FN T exp_reduced(T x, T& t) {
  return exp_reduced(x, t, T(-0.0));  // adding it changes nothing and is left out
}
template <class T>
WEFT_FN T exp_text(T x) {
  T t;
  T p = exp_reduced(limit(x, Format<T>::kExpLimit), t);
  return scale(T(1) + p, t);
}
WEFT_FN float exp(float x) { return exp_text(x); }
WEFT_FN double exp(double x) { return exp_text(x); }
// exp(x + low) 2^shift; |low| < 1e-3.
WEFT_FN double exp_shifted(double x, double low, double shift) {
  double t;
  double p = exp_reduced(limit(x, Format<double>::kExpLimit), t, low);
  return scale(1.0 + p, t + shift);
}

template <class T>
WEFT_FN T exp2_text(T x, T high) {
  x = limit(x, high);
  T t = nearest(x);
  T r = x - (t - Format<T>::kMagic);
  return scale(fma(r, exp2_tail(r), T(1)), t);
}
WEFT_FN float exp2(float x) { return exp2_text(x, 151.0f); }
WEFT_FN double exp2(double x) { return exp2_text(x, 1076.0); }

// 1 / (1 + exp(-x)) by e = exp(-|x|), whose scale is one factor: an e below the normal numbers may count as 0.
template <class T>
WEFT_FN T sigmoid_text(T x) {
  T a = abs(x);
  T t;
  T p = exp_reduced(-where(a > Format<T>::kExpZero, Format<T>::kExpZero, a), t);
  T s = power_of_two(t);
  T e = fma(s, p, s);
  return where(x < T(0), e, T(1)) / (T(1) + e);
}
WEFT_FN float sigmoid(float x) { return sigmoid_text(x); }
WEFT_FN double sigmoid(double x) { return sigmoid_text(x); }
// 1 / (1 + 2^-x), of which the reduction is exact: cheaper, where the factor ln(2) goes into a constant.
template <class T>
WEFT_FN T sigmoid2_text(T x) {
  T a = abs(x);
  a = where(a > Format<T>::kExp2Zero, Format<T>::kExp2Zero, a);
  T t = Format<T>::kMagic - a;
  T r = -a - (t - Format<T>::kMagic);
  T e = fma(r, exp2_tail(r), T(1)) * power_of_two(t);
  return where(x < T(0), e, T(1)) / (T(1) + e);
}
WEFT_FN float sigmoid2(float x) { return sigmoid2_text(x); }
WEFT_FN double sigmoid2(double x) { return sigmoid2_text(x); }

// 2 (2^(k-1) p + (2^(k-1) - 1/2)): half the scale, so that the largest k does not overflow too early.
template <class T>
WEFT_FN T expm1_text(T x) {
  T z = limit(x, Format<T>::kExpm1High);
  z = where(z < Format<T>::kExpm1Low, Format<T>::kExpm1Low, z);
  T t;
  T p = exp_reduced(z, t);
  T half = power_of_two(t - T(1));
  T y = T(2) * fma(half, p, half - T(0.5));
  return where(abs(x) < Format<T>::kTiny, x, where(x > Format<T>::kExpm1High, T(kInf), y));
}
WEFT_FN float expm1(float x) { return expm1_text(x); }
WEFT_FN double expm1(double x) { return expm1_text(x); }

// t / (t + 2), t = exp(2 |x|) - 1.
template <class T>
WEFT_FN T tanh_text(T x) {
  T a = limit(abs(x), Format<T>::kTanhHigh);
  T t;
  T p = exp_reduced(a + a, t);
  T s = power_of_two(t);
  return copysign(fma(s, p, s - T(1)) / fma(s, p, s + T(1)), x);
}
WEFT_FN float tanh(float x) { return tanh_text(x); }
WEFT_FN double tanh(double x) { return tanh_text(x); }

// (e - 1 / e) / 2 by e / 2; below 1 that cancels, and a polynomial takes over.
WEFT_FN double sinh(double x) {
  double a = abs(x);
  double z = where(a < 1.0, x * x, 0.0);
  double small = fma(a * z,
                     poly(z, 0.16666666666666669, 0.0083333333333329117, 0.00019841269841594351, 2.7557319106298161e-06,
                          2.5052131097946989e-08, 1.605664936569985e-10, 7.7769605545963746e-13),
                     a);
  double e = exp_shifted(a, 0.0, -1.0);
  return copysign(where(a < 1.0, small, e - 0.25 / e), x);
}
WEFT_FN double cosh(double x) {
  double e = exp_shifted(abs(x), 0.0, -1.0);
  return e + 0.25 / e;
}
WEFT_FN float sinh(float x) { return float(sinh(double(x))); }
WEFT_FN float cosh(float x) { return float(cosh(double(x))); }

}  // namespace weft::math
