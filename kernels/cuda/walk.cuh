#pragma once

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/strided.h"

// Element numbers of a loop nest turned into the offsets of its operands, in kernels.
namespace weft::gpu {

template <int N>
struct Walk {
  Divider sizes[kMaxDims];
  i64 strides[N][kMaxDims];
  int dims = 0;
  u32 n = 0;

  explicit Walk(const LoopNest& nest) : strides{}, dims(nest.dims), n(u32(nest.numel)) {
    for (int d = 0; d < dims; ++d) {
      sizes[d] = Divider(u32(nest.sizes[d]));
      for (int k = 0; k < N; ++k) strides[k][d] = nest.operands[k].strides[d];
    }
  }

  WEFT_FN void offsets(u32 e, i64* o) const {
    for (int k = 0; k < N; ++k) o[k] = 0;
    WEFT_ROLLED
    for (int d = dims - 1; d > 0; --d) {
      const u32 quotient = sizes[d].quotient(e), index = e - quotient * sizes[d].divisor;
#pragma unroll
      for (int k = 0; k < N; ++k) o[k] += index * strides[k][d];
      e = quotient;
    }
#pragma unroll
    for (int k = 0; k < N; ++k) o[k] += e * strides[k][0];
  }
};

/// The nest of tensors of one shape. Only their geometry and memory count: aliases with any strides will do.
inline LoopNest nest_of(const Tensor& lead, std::initializer_list<Tensor> others) {
  int which[kMaxOperands];
  for (int k = 0; k < int(others.size()); ++k) which[k] = k;
  return make_nest(lead, others.begin(), which, int(others.size()));
}

/// Where the element that an index names lies: its number among the indexed dimensions (row-major) as an offset.
struct Place {
  i64 sizes[kMaxDims], strides[kMaxDims];
  int dims = 1;

  WEFT_FN i64 offset(i64 number) const {
    if (dims == 1) return number * strides[0];
    i64 to = 0;
    WEFT_ROLLED
    for (int d = dims - 1; d > 0; --d) {
      to += number % sizes[d] * strides[d];
      number /= sizes[d];
    }
    return to + number * strides[0];
  }
};

/// Places of dimensions [first, first + count) of x; neighbours that can be walked with one stride are one.
Place place_of(const Tensor& x, int first, int count);
/// x with the shape of an index: dimensions [first, first + count) give way to those of `shape`, which stand still.
Tensor standing(const Tensor& x, int first, int count, const Dims& shape);
/// The geometry of `index` seen from the whole result: it stands still along the `before` leading and `after` trailing
/// dimensions.
Tensor spread(const Tensor& index, const Dims& whole, int before);

/// 16 bytes moved as one element.
struct alignas(16) Pack16 {
  u64 low, high;
};

/// The nest of operands `moved` (bits of kMaxOperands) in units of 16 bytes, where each of them is one run along the
/// innermost dimension and all others stand still there; false, and nothing changed, where it is not so.
bool pack16(LoopNest& nest, Place& place, unsigned moved);

/// 4 elements of a thread stand kThreads apart: their loads are on their way together.
inline constexpr int kUnroll = 4;
inline dim3 grid_for_unrolled(i64 n) {
  const i64 blocks = (n + kThreads * kUnroll - 1) / (kThreads * kUnroll);
  return dim3(unsigned(blocks < 1 ? 1 : blocks < 8448 ? blocks : 8448));
}

}  // namespace weft::gpu
