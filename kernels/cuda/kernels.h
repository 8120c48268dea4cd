#pragma once

#include "core/dispatch.h"

// The kernels of structured ops on devices, and how they are bound to the ops' records.
namespace weft::gpu {

#define WEFT_CUDA_KERNEL(record, kernel) void kernel(const OpCall& c);
#include "kernels/cuda/kernels.def"
#undef WEFT_CUDA_KERNEL

/// Gives every record its kernel for devices. Once, before the first tensor on a device.
void install_kernels();

}  // namespace weft::gpu
