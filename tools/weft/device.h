#pragma once
#include <functional>
#include <string>

#include "core/device.h"
#include "core/dtype.h"

// Devices of the commands: --device, and times and memory on the host or a device.
namespace weft::tools {

/// For CLI11: empty when `text` is a device that this build and machine have, else what is wrong.
std::string check_device(const std::string& text);
/// The device, made current; a weft::Error that says what is missing: "bench: no device cuda: ...".
Device use_device(const std::string& text, const char* who);
/// Waits for all work of a device, and throws what its kernels found wrong. Nothing on the CPU.
void finish(Device device);
/// Greatest memory of this process, or of tensors on the device, in MiB.
double peak_mb(Device device);
void reset_peak(Device device);

/// Microseconds of one call of f: device time between events, of rounds of several calls after a warm-up.
struct DeviceTime {
  double median = 0, least = 0;
};
DeviceTime device_time(Device device, const std::function<void()>& f);

/// GB/s (1e9 bytes, read and written together) of a copy of `bytes` on the device.
double copy_bandwidth(Device device, double bytes);
/// What the machine's own library does at most, GFLOP/s: a large matrix product in this dtype.
double matmul_peak(Device device, DType dtype);

}  // namespace weft::tools
