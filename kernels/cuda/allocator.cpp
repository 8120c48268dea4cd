#include "kernels/cuda/allocator.h"

#include <atomic>

namespace weft::gpu {
namespace {
std::atomic<int64_t> allocated{0}, peak{0}, served{0};
}

void* allocate(size_t bytes, int) {
  void* p = nullptr;
  check(cudaMalloc(&p, bytes ? bytes : 1), "allocate");
  const int64_t now = allocated += static_cast<int64_t>(bytes);
  if (now > peak) peak = now;
  ++served;
  return p;
}
void release(void* p, size_t bytes, int) noexcept {
  cudaFree(p);
  allocated -= static_cast<int64_t>(bytes);
}
void record_stream(void*, cudaStream_t) {}
void allocator_stats(int, MemoryStats& out) {
  out.allocated = out.reserved = allocated;
  out.peak_allocated = peak;
  out.allocations = served;
}
void reset_peak(int) { peak = allocated.load(); }
void empty_cache() {}

Workspace::Workspace(size_t bytes) : bytes_(bytes) {
  cudaGetDevice(&device_);
  data_ = allocate(bytes, device_);
}
Workspace::~Workspace() { release(data_, bytes_, device_); }

}  // namespace weft::gpu
