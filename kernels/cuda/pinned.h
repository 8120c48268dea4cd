#pragma once

#include <cstddef>

#include "kernels/cuda/runtime.h"

// Page-locked host memory, kept for reuse: the driver takes milliseconds to give it. A block that is released while a
// copy is on its way is handed out again only after the copy.
namespace weft::gpu {

void* allocate_pinned(size_t bytes);
void release_pinned(void* p) noexcept;
/// A copy from or to memory around `p` is on its way in `stream` of the current device. Other memory is ignored.
void use_pinned(const void* p, cudaStream_t stream);
void empty_pinned();

}  // namespace weft::gpu
