#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/device.h"
#include "core/ref_count.h"

namespace weft {

/// Memory shared by a tensor and its views, with the version counter that autograd checks.
struct Storage {
  RefCount refs;
  std::atomic<uint32_t> version{0};
  const char* last_writer = nullptr;  ///< op that bumped `version` last; named in errors
  void* data = nullptr;
  size_t bytes = 0;
  void (*deleter)(void* context) = nullptr;  ///< of foreign memory (from_blob, DLPack)
  void* context = nullptr;
  Device device;
  bool owned = true;  ///< memory of weft's allocators; on the CPU header and data are one allocation

  /// Uninitialised memory of `bytes` on `device`.
  static Storage* allocate(size_t bytes, Device device);
  /// Foreign memory; `deleter(context)` runs when the last tensor is gone (may be null).
  static Storage* wrap(void* data, size_t bytes, Device device, void (*deleter)(void*), void* context);
  static void destroy(Storage* s) noexcept;

  void retain() { refs.add(); }
  static void release(Storage* s) noexcept {
    if (s && s->refs.drop_last()) destroy(s);
  }
  void bump(const char* op) {
    version.store(version.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    last_writer = op;
  }
};

}  // namespace weft
