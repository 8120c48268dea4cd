#include "tools/weft/device.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/cuda.h"
#include "core/error.h"
#include "core/ops/matmul.h"
#include "core/thread_state.h"

namespace weft::tools {

std::string check_device(const std::string& text) {
  try {
    const Device device(text);
    if (device.is_cpu()) return "";
    if (!cuda::is_available()) return "no device " + text + ": " + cuda::why_unavailable();
    if (device.index < cuda::device_count()) return "";
    return detail::format("no device {}: this machine has {} CUDA device(s)", {text, cuda::device_count()});
  } catch (const Error& e) {
    return e.what();
  }
}

Device use_device(const std::string& text, const char* who) {
  const std::string problem = check_device(text);
  WEFT_CHECK(problem.empty(), "{}: {}", who, problem);
  const Device device(text);
  if (device.is_cuda()) cuda::set_device(device.index);
  return device;
}

void finish(Device device) {
  if (device.is_cuda()) cuda::synchronize(device.index);
}

double peak_mb(Device device) {
  if (device.is_cuda()) return static_cast<double>(cuda::memory_stats(device.index).peak_allocated) / (1 << 20);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

void reset_peak(Device device) {
  if (device.is_cuda()) cuda::reset_peak_memory_stats(device.index);
}

DeviceTime device_time(Device device, const std::function<void()>& f) {
  const bool real = !cuda::device_properties(device.index).emulated;
  cuda::Event begin, end;
  const auto round = [&](int calls) {
    begin.record();
    for (int i = 0; i < calls; ++i) f();
    end.record();
    end.synchronize();
    return begin.elapsed_ms(end) * 1e3 / calls;
  };
  for (int i = 0; i < (real ? 3 : 1); ++i) f();
  finish(device);
  const double first = std::max(round(1), 1.0);
  // About 3 ms a round, so that the host is ahead of the device; about 60 ms in all.
  const int calls = real ? std::clamp(static_cast<int>(3000 / first), 1, 200) : 1;
  const int rounds = real ? std::clamp(static_cast<int>(60000 / (first * calls)), 5, 20) : 2;
  std::vector<double> us;
  for (int i = 0; i < rounds; ++i) us.push_back(round(calls));
  std::sort(us.begin(), us.end());
  return {us[us.size() / 2], us.front()};
}

double copy_bandwidth(Device device, double bytes) {
  NoGrad guard;
  const int64_t n = std::max<int64_t>(static_cast<int64_t>(bytes / 4), 1);
  const Tensor from = zeros({n}, {.device = device});
  Tensor to = empty({n}, {.device = device});
  return 8 * static_cast<double>(n) / device_time(device, [&] { to.copy_(from); }).least * 1e-3;
}

double matmul_peak(Device device, DType dtype) {
  NoGrad guard;
  const int64_t n = cuda::device_properties(device.index).emulated ? 64 : 8192;
  const Tensor a = full({n, n}, 0.5, {.dtype = dtype, .device = device});
  const double flops = 2 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  return flops / device_time(device, [&] { matmul(a, a); }).least * 1e-3;
}

}  // namespace weft::tools
