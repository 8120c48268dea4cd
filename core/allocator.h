#pragma once
#include <cstddef>
#include <cstdint>

namespace weft {

/// Counters of the CPU caching allocator, in bytes unless said otherwise.
struct MemoryStats {
  int64_t allocated = 0;       ///< in use by tensors now
  int64_t peak_allocated = 0;  ///< highest `allocated` since the start or the last reset_peak_memory_stats()
  int64_t reserved = 0;        ///< taken from the system: in use + cached
  int64_t cached = 0;          ///< free blocks kept for reuse
  int64_t allocations = 0;     ///< number of requests served
};
MemoryStats memory_stats();
void reset_peak_memory_stats();
/// Returns every cached free block to the system.
void empty_cache();
/// Upper bound of `cached`; beyond it freed blocks go back to the system. Default: a quarter of the machine's memory.
void set_cache_limit(size_t bytes);

namespace detail {

/// 64-byte aligned memory of at least `bytes` (0 is fine). weft::Error when the system has none. Never zeroed.
void* cpu_allocate(size_t bytes);
/// `bytes` as given to cpu_allocate.
void cpu_free(void* p, size_t bytes) noexcept;

/// Returns cached free blocks to the system, the largest first, until `bytes` have gone or none is left.
void cpu_trim(size_t bytes) noexcept;

/// What a request of `bytes` takes: blocks of one size stand in for each other.
size_t cpu_block_size(size_t bytes);

/// Small fixed objects (tensor headers, tape nodes): thread-local free lists of 64-byte steps up to 1 KiB, malloc
/// beyond.
void* slab_allocate(size_t bytes);
void slab_free(void* p, size_t bytes) noexcept;

}  // namespace detail
}  // namespace weft
