#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

// How a profiler learns what devices did, and for which op.
namespace weft::detail {

enum class DeviceWork : uint8_t {
  kernel,  ///< of weft or of a library
  copy,
  fill,
  op,  ///< all work of one op, where single kernels are not seen
};

struct DeviceActivity {
  std::string name;
  DeviceWork kind = DeviceWork::kernel;
  int device = 0, stream = 0;        ///< a number of the stream
  int64_t start_ns = 0, end_ns = 0;  ///< of std::chrono::steady_clock
  uint64_t cause = 0;                ///< what push() was given around the launch; 0: none
};

struct DeviceProfiler {
  /// From now on activities are noted; what takes their times.
  std::string (*begin)();
  /// Work that this thread launches from now on is for `cause`, until pop().
  void (*push)(uint64_t cause);
  void (*pop)();
  /// Waits for the devices.
  std::vector<DeviceActivity> (*end)();
};
/// Implemented by kernels/cuda; null in a build without devices.
const DeviceProfiler* device_profiler();

/// While a profiler takes the times of devices: the event that runs on this thread. Null otherwise, and reading that is
/// all that an op on a device pays.
inline constinit std::atomic<uint64_t (*)()> device_cause{nullptr};

}  // namespace weft::detail
