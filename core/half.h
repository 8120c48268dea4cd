#pragma once
#include <cstdint>

#include "core/ops/math_basic.h"

namespace weft {

/// bfloat16: the upper half of a float. Round to nearest even; NaN becomes 0x7fc0 with its sign lost.
struct BFloat16 {
  uint16_t bits;
};
/// IEEE half.
struct Half {
  uint16_t bits;
};

WEFT_FN float to_float(BFloat16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
WEFT_FN BFloat16 to_bf16(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t half;  // the same rounding in one instruction; NaN becomes 0x7fff
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(half) : "f"(x));
  return {half};
#endif
  uint32_t u = __builtin_bit_cast(uint32_t, x);
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return {static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded)};
}
// Integer texts: _Float16 casts do not vectorise under g++ 12.
WEFT_FN float to_float(Half x) {
#if defined(__CUDA_ARCH__)
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x.bits));
  return f;
#endif
  uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  uint32_t body = static_cast<uint32_t>(x.bits & 0x7fffu) << 13;
  // 2^112 rescales the exponent bias (denormals included); infinities and NaN are put back by hand.
  float scaled = __builtin_bit_cast(float, body) * 5192296858534827628530496329220096.0f;
  uint32_t bits = __builtin_bit_cast(uint32_t, scaled);
  bits = (x.bits & 0x7c00u) == 0x7c00u ? (body | 0x7f800000u) : bits;
  return __builtin_bit_cast(float, bits | sign);
}
WEFT_FN Half to_f16(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
  return {half};
#endif
  uint32_t u = __builtin_bit_cast(uint32_t, x);
  uint32_t sign = (u >> 16) & 0x8000u;
  uint32_t a = u & 0x7fffffffu;
  // normal range: rebias and round to nearest even on bit 13
  uint32_t normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  // below 2^-14: adding 0.5 aligns the denormal bits at the bottom of the mantissa
  uint32_t small = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, a) + 0.5f) - 0x3f000000u;
  uint32_t h = a < 0x38800000u ? small : normal;
  h = a >= 0x477ff000u ? 0x7c00u : h;
  h = a > 0x7f800000u ? 0x7e00u : h;
  return {static_cast<uint16_t>(sign | h)};
}

}  // namespace weft
