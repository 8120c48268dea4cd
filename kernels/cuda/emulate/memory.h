#pragma once

#include <cstddef>
#include <functional>

namespace weft::gpu::emulate {

enum class Kind { device, pinned };

struct Allocation {
  char* data = nullptr;
  size_t bytes = 0;
  Kind kind = Kind::device;
  int device = 0;
};

// Null when the device has not that much left (see Settings::memory), or the host.
void* take_memory(size_t bytes, Kind kind, int device);
// False: `p` is not what take_memory gave.
bool give_memory(void* p, Kind kind);
// Addresses for device memory that comes later, and the memory, which joins with what lies around it.
void* take_addresses(size_t bytes);
bool map_addresses(void* at, size_t bytes, int device);
void unmap_addresses(void* at, size_t bytes);
// The allocation that `p` points into; `bytes` is 0 when there is none.
Allocation find_memory(const void* p);
size_t used_memory(int device);
void each_device_memory(const std::function<void(const Allocation&)>& f);

// Device memory may be touched while it lives (always, unless Settings::guard).
class Open {
 public:
  Open();
  ~Open();
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;
};

}  // namespace weft::gpu::emulate
