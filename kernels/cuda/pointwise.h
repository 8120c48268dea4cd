#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/cuda/launch_check.h"

// Launching pointwise kernels. This header needs no CUDA header.
namespace weft::cuda {

inline constexpr int kMaxDims = 8;
inline constexpr int kMaxOperands = 6;
inline constexpr int kMaxParams = 4;

// One tensor of a pointwise call, broadcast to the sizes of the call. Strides in elements.
struct Operand {
  void* data;
  int64_t strides[kMaxDims];
  DType dtype;  // f32, bf16 or f16
};

// y = f(inputs..., params...) for every element of `sizes`; the result comes last in `operands`.
// A backward call has g, then the inputs and results that the record's `needs` names (a, b, c, y).
struct PointwiseCall {
  Operand operands[kMaxOperands];
  int64_t sizes[kMaxDims];
  int dims;
  float params[kMaxParams];
};

using PointwiseKernel = void (*)(const PointwiseCall& call, Stream stream);

// The kernels of one record. Gradients of records without any are null.
struct PointwiseEntry {
  const char* name;
  PointwiseKernel forward;
  PointwiseKernel backward[3];
};

}  // namespace weft::cuda
