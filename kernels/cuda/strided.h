#pragma once

#include "core/tensor.h"
#include "kernels/cpu/strided.h"
#include "kernels/cuda/loop_operand.h"

// The loop nest of a launch over several operands of one broadcast shape.
namespace weft::gpu {

/// operands[0] is the result. Dimensions that are contiguous for all are merged; the last one is the innermost, in the
/// memory order of the result.
struct LoopNest {
  LoopOperand operands[kMaxOperands];
  int64_t sizes[kMaxDims];
  int dims, count;
  int64_t numel;

  /// Operand k is one run of memory.
  bool dense(int k) const;
  bool number(int k) const { return operands[k].data == nullptr; }
};

/// The nest of out = f(in[which[0]], in[which[1]], ...).
LoopNest make_nest(const Tensor& out, const Tensor* in, const int* which, int n);
/// Calls f for parts of the nest with fewer than 2^31 elements each.
template <class F>
void in_parts(const LoopNest& nest, F&& f) {
  if (nest.numel < (int64_t{1} << 31)) return f(nest);
  // Halves along the largest dimension.
  int d = 0;
  for (int i = 1; i < nest.dims; ++i)
    if (nest.sizes[i] > nest.sizes[d]) d = i;
  LoopNest half = nest;
  const int64_t first = nest.sizes[d] / 2 / 64 * 64 + (nest.sizes[d] < 128 ? nest.sizes[d] / 2 : 0);
  half.sizes[d] = first;
  half.numel = nest.numel / nest.sizes[d] * first;
  in_parts(half, f);
  for (int k = 0; k < nest.count; ++k)
    if (!nest.number(k))
      half.operands[k].data =
          static_cast<char*>(nest.operands[k].data) +
          first * nest.operands[k].strides[d] * static_cast<int64_t>(itemsize(nest.operands[k].dtype));
  half.sizes[d] = nest.sizes[d] - first;
  half.numel = nest.numel / nest.sizes[d] * half.sizes[d];
  in_parts(half, f);
}

}  // namespace weft::gpu
