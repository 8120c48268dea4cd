#pragma once

#include "core/ops/math_log.h"

// The error function and powers.
namespace weft::math {

// 1 - 1 / q for q >= 1 and NaN. On a device: a division that need not look for denormals and infinities.
WEFT_FN float one_minus_inverse(float q) {
#if defined(__CUDA_ARCH__)
  q = q > 0x1p100f ? 0x1p100f : q;
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(q));
  return 1.0f - fma(r, fma(-q, r, 1.0f), r);
#else
  return 1.0f - 1.0f / q;
#endif
}
// x + x p(x^2) below 1; above, 1 - 1 / q(x - 1)^8, which rounds to 1 for large x.
WEFT_FN float erf(float x) {
  float a = abs(x);
  float small = fma(a,
                    poly(x * x, 0.128379166f, -0.376126271f, 0.112836002f, -0.0268544445f, 0.00518953516f,
                         -0.000802083964f, 7.88911406e-05f),
                    a);
  float q = poly(a - 1.0f, 1.26011209f, 0.415675912f, 0.201329192f, 0.0581177707f, 0.0146870382f, 0.00519178769f,
                 -0.000216914863f, 0.000547894093f);
  q *= q;
  q *= q;
  q *= q;
  return copysign(where(a < 1.0f, small, one_minus_inverse(q)), x);
}

// exp(-x^2) p(t) / (1 + 2 x), t = (x - 4) / (x + 4), for x >= 0; the rounding error of x^2 is put back.
WEFT_FN double erfc_positive(double x) {
  x = where(x > 28.0, 28.0, x);
  double t = (x - 4.0) / (x + 4.0);
  double p = poly(t, 1.2329951186255526, -0.13962111684056316, 0.015379652102604981, 0.068097054254763048,
                  -0.10103906603550308, 0.093732834996235165, -0.066330365829365232, 0.037167515565100805,
                  -0.01619773386812548, 0.0050319697950535645, -0.00075777451642544973, -0.00019925607210082309,
                  0.00015062661654757306, -2.4400021517308941e-05, -1.1234657700420304e-05, 5.7084304404447818e-06,
                  3.1407530907760552e-07, -8.1907163046215401e-07, 5.5276750578124801e-08, 1.0073398927553948e-07,
                  -8.2779474487478905e-09, -8.1546330656314675e-09, 1.0343986847324562e-10);
  double square = x * x;
  return exp_shifted(-square, -fma(x, x, -square), 0.0) * (p / (1.0 + 2.0 * x));
}
// erf(x) for |x| <= 1.
WEFT_FN double erf_small(double x) {
  double z = where(abs(x) < 1.0, x * x, 1.0);
  double p = poly(z, 0.12837916709551259, -0.37612638903183748, 0.11283791670954857, -0.026866170645072893,
                  0.0052239776247808489, -0.0008548326978741218, 0.00012055331036867641, -1.4925593506254136e-05,
                  1.6460972809145949e-06, -1.6350025163666317e-07, 1.4657879601536979e-08, -1.1365665583128013e-09,
                  5.9452619411838369e-11);
  return fma(x, p, x);
}
WEFT_FN double erfc(double x) {
  double y = erfc_positive(abs(x));
  return where(abs(x) < 0.5, 1.0 - erf_small(x), where(x < 0.0, 2.0 - y, y));
}
WEFT_FN float erfc(float x) { return float(erfc(double(x))); }
WEFT_FN double erf(double x) {
  double a = abs(x);
  return copysign(where(a < 1.0, erf_small(a), 1.0 - erfc_positive(a)), x);
}

// The rules of pow around `y` = |x|^exponent: signs, zeros, infinities, NaN; x^0 = 1^e = 1 even beside NaN.
template <class T>
WEFT_FN T power_domain(T x, T exponent, T y) {
  T a = abs(x);
  bool whole = trunc(exponent) == exponent;
  T half = exponent * T(0.5);
  bool odd = whole & (trunc(half) != half);
  y = where(a == T(0), where(exponent < T(0), T(kInf), T(0)), y);
  y = where(a == T(kInf), where(exponent < T(0), T(0), T(kInf)), y);
  y = where(a == T(1), T(1), y);
  y = where(signbit(x) & odd, -y, y);
  y = where((x < T(0)) & (a != T(kInf)) & (a != T(1)) & !whole, T(kNan), y);
  y = where((a == T(1)) & (x < T(0)) & !whole, T(kNan), y);
  y = where((x != x) | (exponent != exponent), T(kNan), y);
  return where((exponent == T(0)) | (x == T(1)), T(1), y);
}

// exp(y log(a)) with log(a) = high + low to about 66 bits: log(m) = 2 s + s z (2/3 + z R(z)), s = (m - 1) / (m + 1).
WEFT_FN double pow(double x, double y) {
  double e;
  double m = split_exponent(abs(x), e);
  double f = m - 1.0;
  double d = m + 1.0;
  double m_part = d - 1.0;
  double d_low = (m - m_part) + (1.0 - (d - m_part));
  double s = f / d;
  double s_low = (fma(-s, d, f) - s * d_low) / d;
  double z = s * s;
  double z_low = fma(s, s, -z) + 2.0 * s * s_low;
  double cube = s * z;
  double cube_low = fma(s, z, -cube) + s * z_low + s_low * z;
  double third = cube * 0.66666666666666663;
  double third_low =
      fma(cube, 0.66666666666666663, -third) + cube * 3.7007434154171883e-17 + cube_low * 0.66666666666666663;
  double rest = cube * z *
                poly(z, 0.3999999999999998, 0.28571428571445151, 0.22222222217526949, 0.18181818871486266,
                     0.15384556790886256, 0.1333632050617018, 0.11674755757800613, 0.11989536373974892);
  double log_m = 2.0 * s + third;
  double log_m_low = (2.0 * s - log_m) + third + (2.0 * s_low + third_low + rest);
  // e ln(2): the high part has 40 bits, so that its product is exact.
  double log_e = e * 0.69314718055920821;
  double sum = log_e + log_m;
  double part = sum - log_e;
  double sum_low = (log_e - (sum - part)) + (log_m - part) + fma(e, 7.3710025651677989e-13, log_m_low);
  double high = sum + sum_low;
  double low = (sum - high) + sum_low;
  double p = y * high;
  double p_low = fma(y, high, -p) + y * low;
  p_low = where(abs(p) < 800.0, p_low, 0.0);
  return power_domain(x, y, exp_shifted(p, p_low, 0.0));
}
WEFT_FN float pow(float x, float y) {
  double p = double(y) * log(double(abs(x)));
  return power_domain(x, y, float(exp(p)));
}

}  // namespace weft::math
