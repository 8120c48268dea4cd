#pragma once

#include <cstddef>

struct CUstream_st;

// What the caching allocator tells the emulation, and what happens then in the order of the block's stream. A block is
// filled with the poison when it is handed out and when it comes back, so that reading a tensor before it is written,
// or after it is freed, shows. Behind it lie at least kTail marked bytes, which are looked at when it comes back: a
// kernel that writes past the end is an error. AddressSanitizer sees only what is in use, and no more than was asked
// for.
namespace weft::gpu::emulate {

inline constexpr size_t kTail = 32;

void segment_taken(void* p, size_t bytes);
void segment_given(void* p, size_t bytes);
void block_taken(void* p, size_t requested, size_t size, CUstream_st* stream, int device);
void block_given(void* p, size_t requested, size_t size, CUstream_st* stream, int device, const char* op);

}  // namespace weft::gpu::emulate
