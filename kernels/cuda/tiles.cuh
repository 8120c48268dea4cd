#pragma once

#include "kernels/cuda/elements.cuh"

// Matrix products of a block of 16 x 16 threads, tile by tile through shared memory; each thread holds a square of the
// result in registers. Sums run over the depth in order.
namespace weft::gpu {

template <class T>
struct Tiles {
  static constexpr int kSide = Pack<T>::kCount;  // of a thread's square
  static constexpr int kTile = 16 * kSide;
  static constexpr int kDepth = 16;  // of a chunk in shared memory
  static constexpr int kRow = kTile + kSide;
  static constexpr int kPerThread = kTile * kDepth / kThreads;
  using Square = T[kSide][kSide];
  struct Chunk {
    alignas(16) T v[kDepth][kRow];
  };
};

template <class T>
WEFT_FN T multiply_add(T a, T b, T c) {
  if constexpr (std::is_floating_point_v<T>)
    return math::fma(a, b, c);
  else
    return T(u64(a) * u64(b) + u64(c));
}

template <class T>
WEFT_FN void clear(T (&square)[Tiles<T>::kSide][Tiles<T>::kSide]) {
  for (int i = 0; i < Tiles<T>::kSide; ++i)
    for (int j = 0; j < Tiles<T>::kSide; ++j) square[i][j] = T(0);
}

// square[i][j] += sum over k < depth of a[k * a_row + ty kSide + i] * b[k * b_row + tx kSide + j].
template <class T>
__device__ __forceinline__ void multiply(T (&square)[Tiles<T>::kSide][Tiles<T>::kSide], const T* a, int a_row,
                                         const T* b, int b_row, int depth) {
  constexpr int n = Tiles<T>::kSide;
  a += threadIdx.x / 16 * n;
  b += threadIdx.x % 16 * n;
#pragma unroll 8
  for (int k = 0; k < depth; ++k) {
    const Pack<T> x = *reinterpret_cast<const Pack<T>*>(a + k * a_row);
    const Pack<T> y = *reinterpret_cast<const Pack<T>*>(b + k * b_row);
#pragma unroll
    for (int i = 0; i < n; ++i)
#pragma unroll
      for (int j = 0; j < n; ++j) square[i][j] = multiply_add(x.v[i], y.v[j], square[i][j]);
  }
}

}  // namespace weft::gpu
