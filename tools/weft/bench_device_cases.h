#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/device.h"

// What `weft bench device` measures; tools/gpu_torch.py has the same cases under the same names.
namespace weft::bench {

struct DeviceCase {
  std::string name, shape;                           ///< "softmax/bf16", "65536x1024"
  double bytes = 0, flops = 0;                       ///< least memory traffic (0: not its bound), or work, of one call
  std::function<std::function<void()>()> make = {};  ///< allocates the inputs; returns one call
};
/// Kernels that memory bounds, matrix products and attention. small: sizes for the emulation.
std::vector<DeviceCase> device_cases(Device device, bool small);

}  // namespace weft::bench
