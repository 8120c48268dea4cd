#include "kernels/cuda/launch_check.h"

#include "core/error.h"

namespace weft::gpu {

void check_launch(const LaunchShape& s) {
  unsigned long long threads = 1ull * s.block_x * s.block_y * s.block_z;
  WEFT_ASSERT(threads >= 1 && threads <= 1024 && s.block_z <= 64,
              "launch: a block has 1 to 1024 threads, at most 64 of them in z; block is {} x {} x {}", s.block_x,
              s.block_y, s.block_z);
  WEFT_ASSERT(s.grid_x >= 1 && s.grid_x <= 0x7fffffffu && s.grid_y >= 1 && s.grid_y <= 65535 && s.grid_z >= 1 &&
                  s.grid_z <= 65535,
              "launch: a grid has 1 to 2147483647 x 65535 x 65535 blocks; grid is {} x {} x {}", s.grid_x, s.grid_y,
              s.grid_z);
  WEFT_ASSERT(s.shared <= kLargestShared, "launch: at most {} bytes of dynamic shared memory; {} asked", kLargestShared,
              s.shared);
}

}  // namespace weft::gpu
