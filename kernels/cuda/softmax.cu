#include "kernels/cuda/softmax.h"

#include "core/error.h"
#include "core/ops/softmax_row.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace weft::cuda {
namespace {

using Largest = reduction::Max<float>;
using Total = reduction::Sum<float>;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kHeld = int(reduction::kBlock) / kWarp;  // elements of a row that a thread keeps in registers

// Rows of up to one reduction block: a warp each, held in registers.
template <class S>
__global__ void __launch_bounds__(kThreads) warp_rows(const S* x, S* y, i64 rows, int n) {
  int lane = threadIdx.x % kWarp;
  for (i64 r = i64(blockIdx.x) * kWarps + threadIdx.x / kWarp; r < rows; r += i64(gridDim.x) * kWarps) {
    float held[kHeld];
    float largest = Largest::identity();
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      int i = k * kWarp + lane;
      if (i < n) largest = Largest::combine(largest, held[k] = Element<S>::load(x[r * n + i]));
    }
    largest = warp_tree<Largest>(largest);
    float sum = Total::identity();
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      int i = k * kWarp + lane;
      if (i < n) sum = Total::combine(sum, held[k] = softmax_order::weight(held[k], largest));
    }
    sum = warp_tree<Total>(sum);
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      int i = k * kWarp + lane;
      if (i < n) y[r * n + i] = Element<S>::store(held[k] / sum);
    }
  }
}

// Longer rows: a block each. Staged rows wait in dynamic shared memory; the others are read, and exponentiated, again.
template <class S, bool Staged>
__global__ void __launch_bounds__(kThreads) block_rows(const S* x, S* y, i64 rows, i64 n) {
  WEFT_SHARED(float[kWarp], partial);
  WEFT_DYNAMIC_SHARED(float, held);
  for (i64 r = blockIdx.x; r < rows; r += gridDim.x) {
    const S* from = x + r * n;
    if constexpr (Staged) {
      __syncthreads();  // the row before has been written
      for (i64 i = threadIdx.x; i < n; i += kThreads) held[i] = Element<S>::load(from[i]);
    }
    auto value = [&](i64 i) {
      if constexpr (Staged)
        return held[i];
      else
        return Element<S>::load(from[i]);
    };
    float largest = block_row<Largest, float>(n, partial, value);
    if constexpr (Staged) {
      for (i64 i = threadIdx.x; i < n; i += kThreads) held[i] = softmax_order::weight(held[i], largest);
    }
    auto weight = [&](i64 i) {
      if constexpr (Staged)
        return held[i];
      else
        return softmax_order::weight(value(i), largest);
    };
    float sum = block_row<Total, float>(n, partial, weight);
    for (i64 i = threadIdx.x; i < n; i += kThreads) y[r * n + i] = Element<S>::store(weight(i) / sum);
  }
}

template <class S>
void launch_softmax(const S* x, S* y, i64 rows, i64 n, Stream stream) {
  constexpr i64 kMostBlocks = 4224;
  i64 blocks = n <= reduction::kBlock ? (rows + kWarps - 1) / kWarps : rows;
  dim3 grid(unsigned(blocks < kMostBlocks ? blocks : kMostBlocks));
  size_t bytes = size_t(n) * sizeof(float);
  if (n <= reduction::kBlock)
    launch(warp_rows<S>, grid, kThreads, 0, stream, x, y, rows, int(n));
  else if (bytes <= kDefaultShared - sizeof(float[kWarp]))
    launch(block_rows<S, true>, grid, kThreads, bytes, stream, x, y, rows, n);
  else
    launch(block_rows<S, false>, grid, kThreads, 0, stream, x, y, rows, n);
}

}  // namespace

void softmax(const void* x, void* y, int64_t rows, int64_t n, DType dtype, Stream stream) {
  if (rows == 0 || n == 0) return;
  switch (dtype) {
    case DType::f32:
      return launch_softmax(static_cast<const float*>(x), static_cast<float*>(y), rows, n, stream);
    case DType::bf16:
      return launch_softmax(static_cast<const BFloat16*>(x), static_cast<BFloat16*>(y), rows, n, stream);
    case DType::f16:
      return launch_softmax(static_cast<const Half*>(x), static_cast<Half*>(y), rows, n, stream);
    default:
      WEFT_FAIL("softmax: the CUDA kernel takes f32, bf16 and f16; x is {}", dtype);
  }
}

}  // namespace weft::cuda
