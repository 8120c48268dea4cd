#pragma once
#include <cstdint>
#include <vector>

#include "profiler/profiler.h"

// The recording side: per-thread logs that core's hook fills.
namespace weft::profiler::recorder {

struct Options {
  bool shapes, memory, stack;
  int64_t max_events;
};

struct Recording {
  std::vector<Event> events;
  std::vector<int64_t> thread_ids;
  int64_t dropped = 0;
};

/// Throws what an unfinished recording holds away.
void begin(const Options& o);
Recording end();

}  // namespace weft::profiler::recorder
