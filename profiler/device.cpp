#include <algorithm>
#include <mutex>
#include <utility>

#include "core/device_backend.h"
#include "core/device_profile.h"
#include "profiler/recorder.h"

namespace weft::profiler::recorder {
namespace {

std::string times;  // of the recording that runs; empty: devices are not part of it

std::string_view category(detail::DeviceWork kind) {
  constexpr std::string_view names[] = {"kernel", "gpu_memcpy", "gpu_memset", "gpu_op"};
  return names[static_cast<int>(kind)];
}

}  // namespace

void begin_device(uint64_t (*cause)()) {
  detail::need_cuda(Device(DeviceType::cuda), "profiler");
  times = detail::device_profiler()->begin();
  detail::device_cause.store(cause, std::memory_order_release);
}

void end_device(Recording& out, int64_t zero, const std::function<int64_t(uint64_t cause)>& index_of) {
  if (times.empty()) return;
  detail::device_cause.store(nullptr, std::memory_order_release);
  out.device_times = std::exchange(times, {});
  for (detail::DeviceActivity& a : detail::device_profiler()->end()) {
    DeviceEvent e{std::move(a.name),
                  category(a.kind),
                  a.device,
                  a.stream,
                  a.start_ns - zero,
                  a.end_ns - a.start_ns,
                  a.cause ? index_of(a.cause) : -1};
    if (e.event >= 0) out.events[static_cast<size_t>(e.event)].self_cuda_ns += e.duration_ns;
    for (int64_t at = e.event; at >= 0; at = out.events[static_cast<size_t>(at)].parent)
      out.events[static_cast<size_t>(at)].cuda_ns += e.duration_ns;
    out.device_events.push_back(std::move(e));
  }
  std::stable_sort(out.device_events.begin(), out.device_events.end(),
                   [](const DeviceEvent& a, const DeviceEvent& b) { return a.start_ns < b.start_ns; });
}

}  // namespace weft::profiler::recorder
