#pragma once

// The part of NVIDIA's runtime API that weft uses: the toolkit's own, or the emulation's answer to the same calls.
#if defined(WEFT_CUDA_EMULATE)
#include "kernels/cuda/emulate/runtime_api.h"
#else
#include <cuda_runtime_api.h>
#endif

#include <cstdint>

#include "core/error.h"
#include "kernels/cuda/launch_check.h"

namespace weft::gpu {

/// Throws weft::Error with CUDA's words, and the op that runs, unless `status` is success.
[[noreturn]] void fail_status(cudaError_t status, const char* what);
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) [[unlikely]]
    fail_status(status, what);
}

/// The device of this thread; the driver is asked once and told of changes.
int current_device();
void set_current_device(int device);
/// A device is current while it lives.
class OnDevice {
 public:
  explicit OnDevice(int device) : before_(current_device()) {
    if (device != before_) set_current_device(device);
  }
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_;
};

/// The stream that this thread's work goes to, of the current device.
cudaStream_t current_stream();
/// Of any device.
cudaStream_t current_stream(int device);
void set_current_stream(cudaStream_t stream, int device);

/// Memory that cudaHostAlloc gave.
bool is_pinned(const void* p);
/// Kernels launched and library calls made by this thread.
extern constinit thread_local uint64_t launches;
/// Where WEFT_CUDA_BLOCKING is set: waits for the launch, and throws what it found wrong.
void after_launch(cudaStream_t stream);

/// Facts of the current device, read once.
struct DeviceFacts {
  int multiprocessors, major, minor;
  size_t shared_per_block;  ///< what a kernel may ask for
};
const DeviceFacts& device_facts();

}  // namespace weft::gpu
