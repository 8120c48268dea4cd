#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "profiler/profiler.h"

// The recording side: per-thread logs that core's hook fills.
namespace weft::profiler::recorder {

struct Options {
  bool shapes, memory, stack, cuda;
  int64_t max_events;
};

struct Recording {
  std::vector<Event> events;
  std::vector<DeviceEvent> device_events;
  std::string device_times;
  std::vector<int64_t> thread_ids;
  int64_t dropped = 0;
};

/// The work of devices, between begin and end of a recording (device.cpp).
void begin_device(uint64_t (*cause)());
/// Puts it into `out`, whose clock began at `zero`; index_of: the event that a cause is, or -1. Nothing where it was
/// not begun.
void end_device(Recording& out, int64_t zero, const std::function<int64_t(uint64_t cause)>& index_of);

/// Throws what an unfinished recording holds away.
void begin(const Options& o);
Recording end();

}  // namespace weft::profiler::recorder
