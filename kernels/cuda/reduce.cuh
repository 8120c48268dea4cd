#pragma once

#include "core/reduction_order.h"

// The order of core/reduction_order.h on the threads of a block: lane j is thread j of a warp, a warp takes a block of
// kBlock elements. Also part of generated code: no other header.
namespace weft::gpu {

using math::i64;

inline constexpr unsigned kWholeWarp = 0xffffffffu;

template <class T>
__device__ __forceinline__ T from_first_lane(T value) {
  return __shfl_sync(kWholeWarp, value, 0);
}

// The halving tree over the lanes of a warp; every thread gets the result.
template <class Combine, class Acc>
__device__ __forceinline__ Acc warp_tree(Acc acc) {
  for (int half = 16; half > 0; half /= 2) acc = Combine::combine(acc, __shfl_down_sync(kWholeWarp, acc, half));
  return from_first_lane(acc);
}

// One uncut block of n elements by one warp; every thread gets the result.
template <class Combine, class Acc, class Load>
__device__ __forceinline__ Acc warp_block(i64 n, Load load) {
  constexpr int kTogether = 8;  // loads on their way
  Acc acc = Combine::identity();
  const int count = int(n);
  int i = threadIdx.x % 32;
  for (; i + 32 * (kTogether - 1) < count; i += 32 * kTogether) {
    Acc values[kTogether];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) values[k] = load(i + 32 * k);
#pragma unroll
    for (int k = 0; k < kTogether; ++k) acc = Combine::combine(acc, values[k]);
  }
  for (; i < count; i += 32) acc = Combine::combine(acc, load(i));
  return warp_tree<Combine>(acc);
}

// A row of n elements by all warps of a one-dimensional block. `shared` holds 32 values of the block's shared memory;
// every thread gets the result. A barrier for the whole block.
template <class Combine, class Acc, class Load>
__device__ __forceinline__ Acc block_row(i64 n, Acc* shared, Load load) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  i64 blocks = reduction::block_count(n);
  Acc total = Combine::identity();
  for (i64 first = 0; first < blocks; first += 32) {
    __syncthreads();  // the values of the last round, or of the caller's last row, have been read
    for (i64 b = warp; b < 32; b += warps) {
      i64 start = (first + b) * reduction::kBlock;
      Acc value = start < n ? warp_block<Combine, Acc>(reduction::block_size(n, first + b),
                                                       [&](i64 i) { return load(start + i); })
                            : Combine::identity();
      if (lane == 0) shared[b] = value;
    }
    __syncthreads();
    total = Combine::combine(total, shared[lane]);
  }
  return warp_tree<Combine>(total);
}

}  // namespace weft::gpu
