#pragma once
#include <bit>
#include <cstdint>

namespace weft {

/// bfloat16: the upper half of a float. Round to nearest even; NaN becomes 0x7fc0 with its sign lost.
struct BFloat16 {
  uint16_t bits;
};
/// IEEE half.
struct Half {
  uint16_t bits;
};

inline float to_float(BFloat16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }
inline BFloat16 to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return {static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded)};
}
// Integer texts: _Float16 casts do not vectorise under g++ 12.
inline float to_float(Half x) {
  uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  uint32_t body = static_cast<uint32_t>(x.bits & 0x7fffu) << 13;
  // 2^112 rescales the exponent bias (denormals included); infinities and NaN are put back by hand.
  float scaled = std::bit_cast<float>(body) * 5192296858534827628530496329220096.0f;
  uint32_t bits = std::bit_cast<uint32_t>(scaled);
  bits = (x.bits & 0x7c00u) == 0x7c00u ? (body | 0x7f800000u) : bits;
  return std::bit_cast<float>(bits | sign);
}
inline Half to_f16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  uint32_t sign = (u >> 16) & 0x8000u;
  uint32_t a = u & 0x7fffffffu;
  // normal range: rebias and round to nearest even on bit 13
  uint32_t normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  // below 2^-14: adding 0.5 aligns the denormal bits at the bottom of the mantissa
  uint32_t small = std::bit_cast<uint32_t>(std::bit_cast<float>(a) + 0.5f) - 0x3f000000u;
  uint32_t h = a < 0x38800000u ? small : normal;
  h = a >= 0x477ff000u ? 0x7c00u : h;
  h = a > 0x7f800000u ? 0x7e00u : h;
  return {static_cast<uint16_t>(sign | h)};
}

}  // namespace weft
