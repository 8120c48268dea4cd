#pragma once

#include "kernels/cuda/elements.cuh"

// Neighbours rounded to bf16 two at a time: one instruction instead of two conversions and a merge.
namespace weft::gpu {

/// to_bf16() of both; `low` lies first in memory.
WEFT_FN u32 to_bf16_pair(float low, float high) {
#if defined(__CUDA_ARCH__)
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return u32(to_bf16(low).bits) | u32(to_bf16(high).bits) << 16;
#endif
}

/// What `Vector` holds: Count elements of S, rounded from `values`.
template <class S, class Vector, int Count>
WEFT_FN Vector store_all(const Wide<S> (&values)[Count]) {
  static_assert(sizeof(Vector) == Count * sizeof(S));
  if constexpr (std::is_same_v<S, BFloat16> && Count % 2 == 0) {
    struct Words {
      u32 pairs[Count / 2];
    } words;
#pragma unroll
    for (int k = 0; k < Count / 2; ++k) words.pairs[k] = to_bf16_pair(values[2 * k], values[2 * k + 1]);
    return __builtin_bit_cast(Vector, words);
  } else {
    Vector v;
#pragma unroll
    for (int k = 0; k < Count; ++k) v.v[k] = store<S>(values[k]);
    return v;
  }
}

}  // namespace weft::gpu
