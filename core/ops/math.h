#pragma once

// The words of pointwise records: overloads for float and double, and for int64 where integers are meaningful.
// Std-free; branch-free, so that loops over them vectorise.

#include "core/ops/math_basic.h"

namespace weft::math {

WEFT_FN float exp(float x) { return __builtin_expf(x); }
WEFT_FN double exp(double x) { return __builtin_exp(x); }
WEFT_FN float exp2(float x) { return __builtin_exp2f(x); }
WEFT_FN double exp2(double x) { return __builtin_exp2(x); }
WEFT_FN float expm1(float x) { return __builtin_expm1f(x); }
WEFT_FN double expm1(double x) { return __builtin_expm1(x); }
WEFT_FN float log(float x) { return __builtin_logf(x); }
WEFT_FN double log(double x) { return __builtin_log(x); }
WEFT_FN float log2(float x) { return __builtin_log2f(x); }
WEFT_FN double log2(double x) { return __builtin_log2(x); }
WEFT_FN float log10(float x) { return __builtin_log10f(x); }
WEFT_FN double log10(double x) { return __builtin_log10(x); }
WEFT_FN float log1p(float x) { return __builtin_log1pf(x); }
WEFT_FN double log1p(double x) { return __builtin_log1p(x); }
WEFT_FN float sin(float x) { return __builtin_sinf(x); }
WEFT_FN double sin(double x) { return __builtin_sin(x); }
WEFT_FN float cos(float x) { return __builtin_cosf(x); }
WEFT_FN double cos(double x) { return __builtin_cos(x); }
WEFT_FN float tan(float x) { return __builtin_tanf(x); }
WEFT_FN double tan(double x) { return __builtin_tan(x); }
WEFT_FN float asin(float x) { return __builtin_asinf(x); }
WEFT_FN double asin(double x) { return __builtin_asin(x); }
WEFT_FN float acos(float x) { return __builtin_acosf(x); }
WEFT_FN double acos(double x) { return __builtin_acos(x); }
WEFT_FN float atan(float x) { return __builtin_atanf(x); }
WEFT_FN double atan(double x) { return __builtin_atan(x); }
WEFT_FN float sinh(float x) { return __builtin_sinhf(x); }
WEFT_FN double sinh(double x) { return __builtin_sinh(x); }
WEFT_FN float cosh(float x) { return __builtin_coshf(x); }
WEFT_FN double cosh(double x) { return __builtin_cosh(x); }
WEFT_FN float tanh(float x) { return __builtin_tanhf(x); }
WEFT_FN double tanh(double x) { return __builtin_tanh(x); }
WEFT_FN float asinh(float x) { return __builtin_asinhf(x); }
WEFT_FN double asinh(double x) { return __builtin_asinh(x); }
WEFT_FN float acosh(float x) { return __builtin_acoshf(x); }
WEFT_FN double acosh(double x) { return __builtin_acosh(x); }
WEFT_FN float atanh(float x) { return __builtin_atanhf(x); }
WEFT_FN double atanh(double x) { return __builtin_atanh(x); }
WEFT_FN float erf(float x) { return __builtin_erff(x); }
WEFT_FN double erf(double x) { return __builtin_erf(x); }
WEFT_FN float erfc(float x) { return __builtin_erfcf(x); }
WEFT_FN double erfc(double x) { return __builtin_erfc(x); }
WEFT_FN float pow(float x, float y) { return __builtin_powf(x, y); }
WEFT_FN double pow(double x, double y) { return __builtin_pow(x, y); }
WEFT_FN float atan2(float x, float y) { return __builtin_atan2f(x, y); }
WEFT_FN double atan2(double x, double y) { return __builtin_atan2(x, y); }

}  // namespace weft::math

#include "core/ops/math_composite.h"
