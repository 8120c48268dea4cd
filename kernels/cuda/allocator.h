#pragma once

#include <cstddef>

#include "core/allocator.h"
#include "kernels/cuda/runtime.h"

// Device memory, kept for reuse. A block belongs to the stream it was allocated for: freed, it may at once be handed
// out to later work of that stream. Other streams get it only when all of that stream's work is done; for work of other
// streams that still uses a block when it is freed there is record_stream.
namespace weft::gpu {

/// Memory of `device` for work of its current stream; 512-byte aligned, never null. Throws when there is none.
void* allocate(size_t bytes, int device);
/// What allocate() gave. It may be handed out again at once to work of the stream it was allocated for.
void release(void* p, size_t bytes, int device) noexcept;
/// `p`, if allocate() gave it, is in use on `stream` of `device` too: after release() it waits for what that stream
/// holds by then.
void record_stream(void* p, cudaStream_t stream);
void allocator_stats(int device, MemoryStats& out);
void reset_peak(int device);
/// Gives the segments without a block in use back to the driver.
void empty_cache();
/// Streams that allocate for the first time from now on get one range of addresses that grows and shrinks in place, so
/// that large blocks do not fragment (virtual_memory.h). WEFT_CUDA_EXPANDABLE=1 says so from the start.
void set_expandable(bool on);
/// This thread's new blocks without a name are results of `op` (for out-of-memory texts). Costs a few ns.
void name_blocks(const char* op);

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
