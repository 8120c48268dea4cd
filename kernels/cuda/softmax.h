#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/cuda/launch_check.h"

namespace weft::cuda {

// y[r, :] = softmax(x[r, :]) for contiguous x and y [rows, n] of dtype f32, bf16 or f16; computed in float.
void softmax(const void* x, void* y, int64_t rows, int64_t n, DType dtype, Stream stream);

}  // namespace weft::cuda
