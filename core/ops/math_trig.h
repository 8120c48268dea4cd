#pragma once

#include "core/ops/math_exp.h"

// Trigonometric functions and their inverses.
//
// Angles are multiplied by 2 / pi in pieces whose products are exact, so that whole turns can be taken off each
// product. float: right for every angle. double: right up to 1e31; larger angles count as 0.
namespace weft::math {

// (sin(r) - r) / r^3 and (cos(r) - 1 + z / 2) / z^2 for |r| <= pi / 4; z = r^2.
WEFT_FN float sin_tail(float z) { return poly(z, -0.166666538f, 0.00833210535f, -0.000195076558f); }
WEFT_FN double sin_tail(double z) {
  return poly(z, -0.16666666666666627, 0.0083333333333210687, -0.00019841269828697997, 2.7557313298503298e-06,
              -2.5050695460663265e-08, 1.5893112110770911e-10);
}
WEFT_FN float cos_tail(float z) { return poly(z, 0.0416666456f, -0.00138872978f, 2.44300882e-05f); }
WEFT_FN double cos_tail(double z) {
  return poly(z, 0.041666666666666581, -0.001388888888887097, 2.4801587287528255e-05, -2.755731379166667e-07,
              2.0875647505071681e-09, -1.1355744821852247e-11);
}

// p mod 4, in [-2, 2].
WEFT_FN double turn_rest(double p) { return fma(-4.0, round(p * 0.25), p); }
// Adds b to a; what rounding lost joins `lost`.
WEFT_FN double add_exact(double a, double b, double& lost) {
  double sum = a + b;
  double part = sum - a;
  lost += (a - (sum - part)) + (b - part);
  return sum;
}

// x = (4 n + q) pi / 2 + r + low; gives q as 0, 1, 2 or 3.
WEFT_FN double reduce_angle(double x, double& r, double& low) {
  x = where(abs(x) > 1e31, x - x, x);
  // 2 / pi in four parts of 53 bits, each product with its rounding error.
  double p0 = x * 0.63661977236758138, e0 = fma(x, 0.63661977236758138, -p0);
  double p1 = x * -3.9357353350364972e-17, e1 = fma(x, -3.9357353350364972e-17, -p1);
  double p2 = x * -2.1442872565786008e-33, e2 = fma(x, -2.1442872565786008e-33, -p2);
  double lost = 0.0;
  double sum = add_exact(turn_rest(p0), turn_rest(e0), lost);
  sum = add_exact(sum, turn_rest(p1), lost);
  sum = add_exact(sum, e1, lost);
  sum = add_exact(sum, p2, lost);
  lost += fma(x, 1.6107127853188224e-49, e2);
  double k = round(sum);
  double fraction = sum - k;
  double f = fraction + lost;
  double f_low = lost - (f - fraction);
  r = f * 1.5707963267948966;
  low = fma(f, 1.5707963267948966, -r) + fma(f, 6.123233995736766e-17, f_low * 1.5707963267948966);
  return k - 4.0 * floor(k * 0.25);
}
WEFT_FN float reduce_angle(float x, float& r, float& low) {
  // 2 / pi in parts of 29 bits: their products with 24 bits are exact in double.
  double t = x;
  double a = turn_rest(t * 0.63661977089941502), b = turn_rest(t * 1.4681663246252086e-09);
  double c = turn_rest(t * 2.2760100671971816e-18), d = turn_rest(t * 5.8812147387730434e-27);
  double e = turn_rest(t * 1.0346868700836215e-35) + t * 3.7832563882960676e-45;
  double k = round((a + b) + (c + d) + e);
  // From the largest part on: next to a multiple of pi / 2 the leading ones cancel without error.
  double f = (((a - k) + b) + c) + d + e;
  r = float(f * 1.5707963267948966);
  low = 0.0f;
  return float(k - 4.0 * floor(k * 0.25));
}

// The sine and cosine of r + low, |r| <= pi / 4.
template <class T>
WEFT_FN void sin_cos(T r, T low, T& s, T& c) {
  T z = r * r;
  T half = T(0.5) * z;
  s = r + fma(r * z, sin_tail(z), low * (T(1) - half));
  T w = T(1) - half;
  c = w + (((T(1) - w) - half) + fma(z * z, cos_tail(z), -(r * low)));
}

template <class T>
WEFT_FN T sin_text(T x) {
  T r, low, s, c;
  T q = reduce_angle(x, r, low);
  sin_cos(r, low, s, c);
  T y = where((q == T(1)) | (q == T(3)), c, s);
  y = where(q >= T(2), -y, y);
  return where(abs(x) < Format<T>::kMinNormal, x, y);
}
template <class T>
WEFT_FN T cos_text(T x) {
  T r, low, s, c;
  T q = reduce_angle(x, r, low);
  sin_cos(r, low, s, c);
  T y = where((q == T(1)) | (q == T(3)), s, c);
  return where((q == T(1)) | (q == T(2)), -y, y);
}
WEFT_FN float sin(float x) { return sin_text(x); }
WEFT_FN double sin(double x) { return sin_text(x); }
WEFT_FN float cos(float x) { return cos_text(x); }
WEFT_FN double cos(double x) { return cos_text(x); }
WEFT_FN double tan(double x) {
  double r, low, s, c;
  double q = reduce_angle(x, r, low);
  sin_cos(r, low, s, c);
  bool odd = (q == 1.0) | (q == 3.0);
  return where(abs(x) < Format<double>::kMinNormal, x, where(odd, -c, s) / where(odd, s, c));
}
WEFT_FN float tan(float x) { return float(tan(double(x))); }

// (asin(x) - x) / x^3, z = x^2 <= 1/4.
WEFT_FN float asin_tail(float z) {
  return poly(z, 0.166667521f, 0.0749530643f, 0.0454697609f, 0.024180891f, 0.0421661139f);
}
WEFT_FN double asin_tail(double z) {
  return poly(z, 0.16666666666665403, 0.075000000003385178, 0.044642856827032402, 0.030381959192477635,
              0.022371756673677634, 0.017359726166842501, 0.013885018087949376, 0.012170676247692355,
              0.006521485169564141, 0.019546441230019664, -0.016253411781006217, 0.031932685756123604);
}
// Above 1/2: asin(x) = pi / 2 - 2 asin(sqrt((1 - x) / 2)).
template <class T>
WEFT_FN T asin_text(T x, T half_pi, T half_pi_low) {
  T a = abs(x);
  bool outer = a > T(0.5);
  T z = where(outer, T(0.5) * (T(1) - a), a * a);
  T s = where(outer, sqrt(z), a);
  T y = fma(s * z, asin_tail(z), s);
  return copysign(where(outer, half_pi - (T(2) * y - half_pi_low), y), x);
}
template <class T>
WEFT_FN T acos_text(T x, T half_pi, T half_pi_low) {
  T a = abs(x);
  bool outer = a > T(0.5);
  T z = where(outer, T(0.5) * (T(1) - a), a * a);
  T s = where(outer, sqrt(z), x);
  T tail = s * z * asin_tail(z);
  T inner = half_pi - (s - (half_pi_low - tail));
  T y = T(2) * (s + tail);
  y = where(x < T(0), T(2) * half_pi - (y - T(2) * half_pi_low), y);
  return where(outer, y, inner);
}
WEFT_FN float asin(float x) { return asin_text(x, 1.57079637f, -4.37113883e-08f); }
WEFT_FN double asin(double x) { return asin_text(x, 1.5707963267948966, 6.123233995736766e-17); }
WEFT_FN float acos(float x) { return acos_text(x, 1.57079637f, -4.37113883e-08f); }
WEFT_FN double acos(double x) { return acos_text(x, 1.5707963267948966, 6.123233995736766e-17); }

// (atan(t) - t) / t^3, z = t^2 <= tan(pi / 8)^2.
WEFT_FN float atan_tail(float z) {
  return poly(z, -0.333333164f, 0.199985266f, -0.142443448f, 0.105987281f, -0.0608873405f);
}
WEFT_FN double atan_tail(double z) {
  return poly(z, -0.33333333333333193, 0.19999999999952187, -0.1428571428005439, 0.11111110776317434,
              -0.090908975515034865, 0.07692056532106116, -0.066630620114719818, 0.058475820381381674,
              -0.050379135128023993, 0.038029037356267198, -0.017868108082082865);
}
// atan(a / b) for a, b >= 0, not both 0: about 0, pi / 4 or pi / 2, with one division.
template <class T>
WEFT_FN T atan_ratio(T a, T b, T half_pi, T half_pi_low) {
  bool low = a <= T(0.41421356237309505) * b;
  bool high = a > T(2.4142135623730950) * b;
  T t = where(low, a, where(high, -b, a - b)) / where(low, b, where(high, a, a + b));
  T base = where(low, T(0), where(high, half_pi, T(0.5) * half_pi));
  T rest = where(low, T(0), where(high, half_pi_low, T(0.5) * half_pi_low));
  T z = t * t;
  return base + (t + fma(t * z, atan_tail(z), rest));
}
template <class T>
WEFT_FN T atan2_text(T y, T x, T half_pi, T half_pi_low) {
  T a = abs(y), b = abs(x);
  // a + b must not overflow, and 0 / 0 and inf / inf count as 0 / 1 and 1 / 1.
  T shrink = where(max(a, b) > T(1e38), T(0.25), T(1));
  a = a * shrink;
  b = b * shrink;
  bool infinite = (a == T(kInf)) & (b == T(kInf));
  a = where(infinite, T(1), a);
  b = where(infinite | ((a == T(0)) & (b == T(0))), T(1), b);
  T r = atan_ratio(a, b, half_pi, half_pi_low);
  r = where(signbit(x), T(2) * half_pi - (r - T(2) * half_pi_low), r);
  return copysign(r, y);
}
WEFT_FN float atan(float x) { return copysign(atan_ratio(abs(x), 1.0f, 1.57079637f, -4.37113883e-08f), x); }
WEFT_FN double atan(double x) {
  return copysign(atan_ratio(abs(x), 1.0, 1.5707963267948966, 6.123233995736766e-17), x);
}
WEFT_FN float atan2(float y, float x) { return atan2_text(y, x, 1.57079637f, -4.37113883e-08f); }
WEFT_FN double atan2(double y, double x) { return atan2_text(y, x, 1.5707963267948966, 6.123233995736766e-17); }

}  // namespace weft::math
