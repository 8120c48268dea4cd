#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

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
  void (*deleter)(void* context) = nullptr;  ///< of foreign memory (from_blob, DLPack) and of parts of a StorageBlock
  void* context = nullptr;
  Device device;
  /// Memory of weft's allocators. On the CPU header and data are one allocation, but for parts of a StorageBlock.
  bool owned = true;

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

/// CPU memory of several storages, which ends with the last of them and of its other holders.
class StorageBlock {
 public:
  /// Uninitialised memory of `bytes`, 64-byte aligned.
  static std::shared_ptr<StorageBlock> allocate(size_t bytes);
  explicit StorageBlock(size_t bytes);
  ~StorageBlock();
  StorageBlock(const StorageBlock&) = delete;
  StorageBlock& operator=(const StorageBlock&) = delete;

  char* data() const { return data_; }
  /// `bytes` from `offset` on as a storage of its own.
  static Storage* part(const std::shared_ptr<StorageBlock>& block, size_t offset, size_t bytes);

 private:
  char* data_;
  size_t bytes_;
};

}  // namespace weft
