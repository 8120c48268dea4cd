#pragma once

#include "kernels/cuda/elements.cuh"

// Unsigned keys in the order of the values, as kernels/cpu/sort.cpp makes them: -0 equals 0, NaN is largest.
namespace weft::gpu {

template <class S>
using SortKey = std::conditional_t<sizeof(S) == 8, u64, u32>;
template <class S>
inline constexpr int kKeyBits = 8 * int(sizeof(S));
template <class S>
inline constexpr SortKey<S> kKeyMask = SortKey<S>(~u64(0) >> (64 - kKeyBits<S>));

template <class S>
WEFT_FN SortKey<S> sort_key(S x, bool descending) {
  using K = SortKey<S>;
  constexpr K kSign = K(1) << (kKeyBits<S> - 1);
  K key;
  if constexpr (std::is_same_v<S, float> || std::is_same_v<S, double> || is_half_type<S>) {
    K bits;
    if constexpr (is_half_type<S>)
      bits = x.bits;
    else
      bits = __builtin_bit_cast(K, x);
    bits = bits == kSign ? 0 : bits;
    key = bits ^ (kSign | ((bits & kSign) != 0 ? kKeyMask<S> : K(0)));
    if (load<S>(x) != load<S>(x)) key = kKeyMask<S>;
  } else if constexpr (std::is_same_v<S, Bool>) {
    key = x.v != 0;
  } else if constexpr (std::is_unsigned_v<S>) {
    key = x;
  } else {
    key = K(std::make_unsigned_t<S>(x)) ^ kSign;
  }
  return descending ? key ^ kKeyMask<S> : key;
}

/// A key with its place in the line: no two are equal.
struct KeyedPlace {
  u64 key;
  u64 at;
  WEFT_FN u32 place() const { return u32(at); }
  WEFT_FN friend bool operator<(const KeyedPlace& a, const KeyedPlace& b) {
    return a.key != b.key ? a.key < b.key : a.at < b.at;
  }
};
struct PackedPlace {
  u64 both;
  WEFT_FN u32 place() const { return u32(both); }
  WEFT_FN friend bool operator<(const PackedPlace& a, const PackedPlace& b) { return a.both < b.both; }
};
template <class S>
using Placed = std::conditional_t<sizeof(S) == 8, KeyedPlace, PackedPlace>;
template <class S>
WEFT_FN Placed<S> placed(SortKey<S> key, u32 place) {
  if constexpr (sizeof(S) == 8)
    return {key, place};
  else
    return {u64(key) << 32 | place};
}

/// Sorts lines of `width` (a power of two) of `total` elements in shared memory by all threads of a block.
template <class E>
__device__ __forceinline__ void bitonic(E* line, u32 total, u32 width) {
  __syncthreads();
  for (u32 size = 2; size <= width; size *= 2) {
    for (u32 stride = size / 2; stride > 0; stride /= 2) {
      for (u32 t = threadIdx.x; t < total / 2; t += blockDim.x) {
        const u32 i = 2 * t - (t & (stride - 1)), j = i + stride;
        const bool up = (i & (width - 1) & size) == 0;
        const E a = line[i], b = line[j];
        if ((b < a) == up) {
          line[i] = b;
          line[j] = a;
        }
      }
      // Up to a stride of 32 a warp stays among its own 64 elements.
      const u32 next = stride > 1 ? stride / 2 : size;
      if (stride > 32 || next > 32)
        __syncthreads();
      else
        __syncwarp();
    }
  }
  __syncthreads();
}

}  // namespace weft::gpu
