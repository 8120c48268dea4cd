#pragma once

#include <cstddef>

#include "core/allocator.h"
#include "kernels/cuda/runtime.h"

namespace weft::gpu {

/// Memory of `device` for work of its current stream; 256-byte aligned, never null. Throws when there is none.
void* allocate(size_t bytes, int device);
/// What allocate() gave. It may be handed out again at once to work of the stream it was allocated for.
void release(void* p, size_t bytes, int device) noexcept;
void record_stream(void* p, cudaStream_t stream);
void allocator_stats(int device, MemoryStats& out);
void reset_peak(int device);
void empty_cache();

/// Memory for the time of one kernel call: released when it dies, which the stream's order makes safe.
class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  size_t bytes_;
  int device_;
};

}  // namespace weft::gpu
