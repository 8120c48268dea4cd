#pragma once

#include <cstddef>

// What a launch must satisfy on every device we build for, checked alike by the real and the emulated launch.
namespace weft::gpu {

inline constexpr size_t kDefaultShared = 48 << 10;   // a kernel must ask before it gets more
inline constexpr size_t kLargestShared = 163 << 10;  // sm_80
inline constexpr int kWarp = 32;

struct LaunchShape {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z;
  size_t shared;
};

// Throws weft::Error when a limit is broken or the grid or block is empty.
void check_launch(const LaunchShape& shape);

}  // namespace weft::gpu
