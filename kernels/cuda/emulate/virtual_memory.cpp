#include "kernels/cuda/virtual_memory.h"

#include "kernels/cuda/emulate/blocks.h"
#include "kernels/cuda/emulate/memory.h"
#include "kernels/cuda/emulate/streams.h"

namespace weft::gpu {

void* reserve_addresses(size_t bytes) { return emulate::take_addresses(bytes); }

bool map_memory(void* at, size_t bytes) {
  if (!emulate::map_addresses(at, bytes, emulate::current_device())) return false;
  emulate::segment_taken(at, bytes);
  return true;
}

void unmap_memory(void* at, size_t bytes) {
  emulate::segment_given(at, bytes);
  emulate::unmap_addresses(at, bytes);
}

}  // namespace weft::gpu
