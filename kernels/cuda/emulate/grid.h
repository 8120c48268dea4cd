#pragma once

#include "kernels/cuda/emulate/device_code.h"

namespace weft::gpu::emulate {

// The order of ready threads and of blocks: by Settings::seed, or the lowest or highest number first.
enum class Order { seeded, up, down };

// Runs all threads of a launch once, on this host thread.
void run_ordered(dim3 grid, dim3 block, size_t shared, const Body& body, Order order, unsigned char poison);

// Runs the launch upwards and, from the same device memory, downwards with another poison in shared memory; throws when
// they leave different bytes: a missing barrier, blocks that do not wait for each other, shared memory read before it
// is written.
void run_twice(dim3 grid, dim3 block, size_t shared, const Body& body);

}  // namespace weft::gpu::emulate
