#pragma once

#include <cstddef>

// Addresses apart from the memory behind them: one range per stream grows and gives back pieces from its middle, so
// that free memory never lies in segments that are each too small. Made of the driver's virtual memory calls (real/) or
// of mmap (emulate/).
namespace weft::gpu {

inline constexpr size_t kChunk = size_t{20} << 20;

/// `bytes` of addresses for memory of the current device, whole chunks; null where the driver cannot.
void* reserve_addresses(size_t bytes);
/// Puts memory of the current device behind whole chunks. False, and nothing has changed, when there is none.
bool map_memory(void* at, size_t bytes);
/// No work may use it any more.
void unmap_memory(void* at, size_t bytes);

}  // namespace weft::gpu
