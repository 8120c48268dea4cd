#pragma once

#include <span>

#include "kernels/cuda/pointwise.h"

namespace weft::slice {

// CUDA kernels of ten records that between them use every part of the mechanism.
std::span<const cuda::PointwiseEntry> ten_records();

}  // namespace weft::slice
