#pragma once

// Words that are exact or correctly rounded: comparison, rounding, remainder and integer arithmetic. See math.h.

// Always inlined: one word left as a call keeps its whole loop scalar.
#ifdef __CUDACC__
#define WEFT_FN __host__ __device__ __forceinline__
#else
#define WEFT_FN __attribute__((always_inline)) inline
#endif

namespace weft::math {

#ifdef __INT64_TYPE__
using i32 = __INT32_TYPE__;
using u32 = __UINT32_TYPE__;
using i64 = __INT64_TYPE__;
using u64 = __UINT64_TYPE__;
#else
using i32 = int;
using u32 = unsigned;
using i64 = long long;
using u64 = unsigned long long;
#endif

inline constexpr double kInf = __builtin_bit_cast(double, 0x7ff0000000000000ULL);
inline constexpr double kNan = __builtin_bit_cast(double, 0x7ff8000000000000ULL);

WEFT_FN u32 bits(float x) { return __builtin_bit_cast(u32, x); }
WEFT_FN u64 bits(double x) { return __builtin_bit_cast(u64, x); }
WEFT_FN float float_of_bits(u32 x) { return __builtin_bit_cast(float, x); }
WEFT_FN double double_of_bits(u64 x) { return __builtin_bit_cast(double, x); }

// a where the condition holds, else b. Both are evaluated.
WEFT_FN float where(bool condition, float a, float b) { return condition ? a : b; }
WEFT_FN double where(bool condition, double a, double b) { return condition ? a : b; }
WEFT_FN i64 where(bool condition, i64 a, i64 b) { return condition ? a : b; }
WEFT_FN bool where(bool condition, bool a, bool b) { return condition ? a : b; }

WEFT_FN bool isnan(float x) { return x != x; }
WEFT_FN bool isnan(double x) { return x != x; }
WEFT_FN bool isnan(i64) { return false; }
WEFT_FN bool isinf(float x) { return (x == float(kInf)) | (x == -float(kInf)); }
WEFT_FN bool isinf(double x) { return (x == kInf) | (x == -kInf); }
WEFT_FN bool isinf(i64) { return false; }
WEFT_FN bool isfinite(float x) { return x - x == 0.0f; }
WEFT_FN bool isfinite(double x) { return x - x == 0.0; }
WEFT_FN bool isfinite(i64) { return true; }
// The sign bit: true for -0 and for NaN with the bit set.
WEFT_FN bool signbit(float x) { return (bits(x) >> 31) != 0; }
WEFT_FN bool signbit(double x) { return (bits(x) >> 63) != 0; }
WEFT_FN bool signbit(i64 x) { return x < 0; }

WEFT_FN float abs(float x) { return float_of_bits(bits(x) & 0x7fffffffu); }
WEFT_FN double abs(double x) { return double_of_bits(bits(x) & 0x7fffffffffffffffULL); }
WEFT_FN i64 abs(i64 x) { return x < 0 ? -x : x; }
// |x| with the sign of y.
WEFT_FN float copysign(float x, float y) { return float_of_bits((bits(x) & 0x7fffffffu) | (bits(y) & 0x80000000u)); }
WEFT_FN double copysign(double x, double y) {
  return double_of_bits((bits(x) & 0x7fffffffffffffffULL) | (bits(y) & 0x8000000000000000ULL));
}
// -1, 0 or 1; NaN gives 0, as in PyTorch.
WEFT_FN float sign(float x) { return float(x > 0.0f) - float(x < 0.0f); }
WEFT_FN double sign(double x) { return double(x > 0.0) - double(x < 0.0); }
WEFT_FN i64 sign(i64 x) { return i64(x > 0) - i64(x < 0); }

// Larger and smaller of two; a NaN wins.
WEFT_FN float max(float a, float b) { return where((a > b) | (a != a), a, b); }
WEFT_FN double max(double a, double b) { return where((a > b) | (a != a), a, b); }
WEFT_FN i64 max(i64 a, i64 b) { return a > b ? a : b; }
WEFT_FN float min(float a, float b) { return where((a < b) | (a != a), a, b); }
WEFT_FN double min(double a, double b) { return where((a < b) | (a != a), a, b); }
WEFT_FN i64 min(i64 a, i64 b) { return a < b ? a : b; }
// Larger and smaller of two; a number wins over NaN.
WEFT_FN float fmax(float a, float b) { return where((a > b) | (b != b), a, b); }
WEFT_FN double fmax(double a, double b) { return where((a > b) | (b != b), a, b); }
WEFT_FN i64 fmax(i64 a, i64 b) { return a > b ? a : b; }
WEFT_FN float fmin(float a, float b) { return where((a < b) | (b != b), a, b); }
WEFT_FN double fmin(double a, double b) { return where((a < b) | (b != b), a, b); }
WEFT_FN i64 fmin(i64 a, i64 b) { return a < b ? a : b; }
// min(max(x, low), high); a NaN anywhere wins.
template <class T>
WEFT_FN T clamp_text(T x, T low, T high) {
  T y = where(x < low, low, x);
  y = where(y > high, high, y);
  return where((low != low) | (high != high), low + high, y);
}
WEFT_FN float clamp(float x, float low, float high) { return clamp_text(x, low, high); }
WEFT_FN double clamp(double x, double low, double high) { return clamp_text(x, low, high); }
WEFT_FN i64 clamp(i64 x, i64 low, i64 high) { return min(max(x, low), high); }

#ifdef __CUDA_ARCH__
WEFT_FN float fma(float a, float b, float c) { return ::__fmaf_rn(a, b, c); }
WEFT_FN double fma(double a, double b, double c) { return ::__fma_rn(a, b, c); }
WEFT_FN float sqrt(float x) { return ::__fsqrt_rn(x); }
WEFT_FN double sqrt(double x) { return ::__dsqrt_rn(x); }
WEFT_FN float floor(float x) { return ::floorf(x); }
WEFT_FN double floor(double x) { return ::floor(x); }
WEFT_FN float ceil(float x) { return ::ceilf(x); }
WEFT_FN double ceil(double x) { return ::ceil(x); }
WEFT_FN float trunc(float x) { return ::truncf(x); }
WEFT_FN double trunc(double x) { return ::trunc(x); }
WEFT_FN float round(float x) { return ::rintf(x); }
WEFT_FN double round(double x) { return ::rint(x); }
#else
// a b + c, rounded once.
WEFT_FN float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
WEFT_FN double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
WEFT_FN float sqrt(float x) { return __builtin_sqrtf(x); }
WEFT_FN double sqrt(double x) { return __builtin_sqrt(x); }
WEFT_FN float floor(float x) { return __builtin_floorf(x); }
WEFT_FN double floor(double x) { return __builtin_floor(x); }
WEFT_FN float ceil(float x) { return __builtin_ceilf(x); }
WEFT_FN double ceil(double x) { return __builtin_ceil(x); }
WEFT_FN float trunc(float x) { return __builtin_truncf(x); }
WEFT_FN double trunc(double x) { return __builtin_trunc(x); }
// To the nearest integer, halves to even.
WEFT_FN float round(float x) { return __builtin_rintf(x); }
WEFT_FN double round(double x) { return __builtin_rint(x); }
#endif
WEFT_FN i64 floor(i64 x) { return x; }
WEFT_FN i64 ceil(i64 x) { return x; }
WEFT_FN i64 trunc(i64 x) { return x; }
WEFT_FN i64 round(i64 x) { return x; }
WEFT_FN float rsqrt(float x) { return 1.0f / sqrt(x); }
WEFT_FN double rsqrt(double x) { return 1.0 / sqrt(x); }

// Remainder with the sign of x, as C's fmod: exact while |x / y| < 2^106 (float: always exact below 2^53).
WEFT_FN double fmod(double x, double y) {
  double m = abs(y);
  // The first step is exact however large the quotient: it takes away its leading 53 bits.
  double q = trunc(x / m);
  double r = fma(-q, m, x);
  r = fma(-trunc(r / m), m, r);
  // A quotient rounded up across an integer leaves a remainder of the other sign.
  r = where((r < 0.0) & (x > 0.0), r + m, r);
  r = where((r > 0.0) & (x < 0.0), r - m, r);
  r = copysign(r, x);
  return where(isinf(y), where(isfinite(x), x, r), r);
}
WEFT_FN float fmod(float x, float y) {
  double m = abs(double(y));
  double r = fma(-trunc(double(x) / m), m, double(x));
  r = where((r < 0.0) & (x > 0.0f), r + m, r);
  r = where((r > 0.0) & (x < 0.0f), r - m, r);
  float result = copysign(float(r), x);
  return where(isinf(y), where(isfinite(x), x, result), result);
}
// Remainder with the sign of y, as Python's %.
WEFT_FN float remainder(float x, float y) {
  float r = fmod(x, y);
  return where((r != 0.0f) & ((y < 0.0f) != (r < 0.0f)), r + y, r);
}
WEFT_FN double remainder(double x, double y) {
  double r = fmod(x, y);
  return where((r != 0.0) & ((y < 0.0) != (r < 0.0)), r + y, r);
}
// The floor of the quotient, consistent with remainder (not floor(x / y), which may round up across an integer).
template <class T>
WEFT_FN T floor_quotient(T x, T y) {
  T r = fmod(x, y);
  T q = (x - r) / y;
  q = where((r != T(0)) & ((y < T(0)) != (r < T(0))), q - T(1), q);
  T whole = floor(q);
  whole = where(q - whole > T(0.5), whole + T(1), whole);
  whole = where(q == T(0), copysign(T(0), x / y), whole);
  return where(y == T(0), x / y, whole);
}
WEFT_FN float floor_div(float x, float y) { return floor_quotient(x, y); }
WEFT_FN double floor_div(double x, double y) { return floor_quotient(x, y); }
WEFT_FN float trunc_div(float x, float y) { return trunc(x / y); }
WEFT_FN double trunc_div(double x, double y) { return trunc(x / y); }

// Integer quotients and remainders. A divisor of 0 gives 0 here: callers refuse it first. INT64_MIN / -1 wraps.
WEFT_FN i64 trunc_div(i64 x, i64 y) {
  i64 q = x / where((y == 0) | (y == -1), i64(1), y);
  return y == 0 ? 0 : y == -1 ? -x : q;
}
WEFT_FN i64 fmod(i64 x, i64 y) { return x % where((y == 0) | (y == -1), i64(1), y); }
WEFT_FN i64 floor_div(i64 x, i64 y) {
  i64 r = fmod(x, y);
  return trunc_div(x, y) - i64((r != 0) & ((r < 0) != (y < 0)));
}
WEFT_FN i64 remainder(i64 x, i64 y) {
  i64 r = fmod(x, y);
  return where((r != 0) & ((r < 0) != (y < 0)), r + y, r);
}

// x^y by repeated squaring, modulo 2^64. A negative power is 0 unless x is 1 or -1, as in PyTorch.
WEFT_FN i64 pow(i64 x, i64 y) {
  u64 result = 1;
  u64 base = u64(x);
  for (u64 e = u64(y < 0 ? 0 : y); e != 0; e >>= 1) {
    result *= (e & 1) != 0 ? base : 1;
    base *= base;
  }
  i64 negative = x == 1 ? 1 : x == -1 ? ((y & 1) != 0 ? -1 : 1) : 0;
  return y < 0 ? negative : i64(result);
}
// x 2^y and x / 2^y (floor); shifts by less than 0 or more than 63 give 0, and 0 or -1.
WEFT_FN i64 shift_left(i64 x, i64 y) { return where((y < 0) | (y > 63), i64(0), i64(u64(x) << u64(y & 63))); }
WEFT_FN i64 shift_right(i64 x, i64 y) { return x >> where((y < 0) | (y > 63), i64(63), y); }
WEFT_FN i64 gcd(i64 x, i64 y) {
  i64 a = abs(x), b = abs(y);
  while (b != 0) {
    i64 r = a % b;
    a = b;
    b = r;
  }
  return a;
}

}  // namespace weft::math
