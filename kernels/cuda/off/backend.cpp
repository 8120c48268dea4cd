#include "core/device_backend.h"
#include "core/device_profile.h"

// In place of the backend in builds with WEFT_CUDA=off.
namespace weft::detail {

const DeviceBackend* load_cuda_backend(std::string& why) {
  why = "this build has no CUDA backend (cmake -DWEFT_CUDA=on, with the CUDA toolkit 12.4 or later)";
  return nullptr;
}
const DeviceProfiler* device_profiler() { return nullptr; }

}  // namespace weft::detail
