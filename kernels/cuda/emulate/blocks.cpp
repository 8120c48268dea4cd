#include "kernels/cuda/emulate/blocks.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "kernels/cuda/emulate/fiber.h"
#include "kernels/cuda/emulate/memory.h"
#include "kernels/cuda/emulate/profile.h"
#include "kernels/cuda/emulate/settings.h"
#include "kernels/cuda/emulate/streams.h"

#ifdef WEFT_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace weft::gpu::emulate {
namespace {

constexpr unsigned char kTailByte = 0xb7;

void forbid([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#ifdef WEFT_FIBER_ASAN
  __asan_poison_memory_region(p, bytes);
#endif
}
void allow([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#ifdef WEFT_FIBER_ASAN
  __asan_unpoison_memory_region(p, bytes);
#endif
}

}  // namespace

void segment_taken(void* p, size_t bytes) { forbid(p, bytes); }
void segment_given(void* p, size_t bytes) { allow(p, bytes); }

void block_taken(void* p, size_t requested, size_t size, CUstream_st* stream, int device) {
  const unsigned char poison = settings().poison;
  const Unnoted own;
  put(stream_or_default(stream, device), [=] {
    allow(p, size);
    std::memset(p, poison, requested);
    char* tail = static_cast<char*>(p) + requested;
    std::memset(tail, kTailByte, size - requested);
    forbid(tail, size - requested);
  });
}

void block_given(void* p, size_t requested, size_t size, CUstream_st* stream, int device, const char* op) {
  const unsigned char poison = settings().poison;
  const Unnoted own;
  put(stream_or_default(stream, device), [=] {
    allow(p, size);
    const auto *tail = static_cast<unsigned char*>(p) + requested, *end = static_cast<unsigned char*>(p) + size;
    const bool whole = std::all_of(tail, end, [](unsigned char c) { return c == kTailByte; });
    std::memset(p, poison, size);
    forbid(p, size);
    WEFT_ASSERT(whole, "launch: a kernel wrote past the end of the {} bytes that were allocated for {}", requested,
                op ? op : "a tensor");
  });
}

}  // namespace weft::gpu::emulate
