#include "core/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "core/address_arena.h"
#include "core/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define WEFT_NO_CACHE 1  // it must see every free; races are looked for in what users run
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_NO_CACHE 1
#endif
#endif
#ifndef WEFT_NO_CACHE
#define WEFT_NO_CACHE 0
#endif

namespace weft {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kSmallLimit = 4096;  // served by thread-local lists, steps of 64 bytes
constexpr size_t kSlabLimit = 1024;
constexpr size_t kMaxCached = size_t{1} << 30;  // larger blocks always go back
constexpr size_t kHuge = size_t{4} << 20;       // from here on: transparent huge pages
constexpr int kLocalMax = 256;                  // free blocks a thread keeps per small class,
constexpr size_t kLocalBytes = 256 << 10;       // and more while they are not so many bytes

struct Counters {
  std::atomic<int64_t> allocated{0}, peak{0}, cached{0}, allocations{0};
} counters;

void count_in(size_t bytes) {
  int64_t now = counters.allocated.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed) +
                static_cast<int64_t>(bytes);
  int64_t peak = counters.peak.load(std::memory_order_relaxed);
  while (now > peak && !counters.peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
  counters.allocations.fetch_add(1, std::memory_order_relaxed);
}

// Four classes per power of two above kSmallLimit, of large blocks sixteen: at most 25% or 6% is wasted.
constexpr int kFineTop = 24;  // of sizes above 16 MiB
constexpr int kClasses = 16;  // of an index per power of two, most of them unused below
int step_bits(int top) { return top < kFineTop ? 2 : 4; }

size_t class_size(size_t bytes) {
  if (bytes <= kSmallLimit) return (bytes + kAlign - 1) & ~(kAlign - 1);
  const int top = 63 - std::countl_zero(bytes - 1);
  const size_t step = size_t{1} << (top - step_bits(top));
  return (bytes + step - 1) & ~(step - 1);
}
int class_index(size_t size) {
  const int top = 63 - std::countl_zero(size - 1);
  const size_t step = size_t{1} << (top - step_bits(top));
  return top * kClasses + static_cast<int>((size - 1 - (size_t{1} << top)) / step);
}
size_t index_size(int index) {
  const int top = index / kClasses;
  return (size_t{1} << top) + (static_cast<size_t>(index % kClasses) + 1) * (size_t{1} << (top - step_bits(top)));
}

void* system_allocate(size_t size) {
  void* p = nullptr;
  if (posix_memalign(&p, size >= kHuge ? size_t{2} << 20 : kAlign, size) != 0) return nullptr;
  if (size >= kHuge) madvise(p, size, MADV_HUGEPAGE);
  return p;
}

struct LargeCache {
  std::mutex mutex;
  std::vector<void*> free[64 * kClasses];
  std::atomic<size_t> limit{default_limit()};

  static size_t default_limit() {
    return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE)) / 4;
  }
  void* take(size_t size) {
    std::lock_guard lock(mutex);
    auto& list = free[class_index(size)];
    if (list.empty()) return nullptr;
    void* p = list.back();
    list.pop_back();
    counters.cached.fetch_sub(static_cast<int64_t>(size), std::memory_order_relaxed);
    return p;
  }
  bool give(void* p, size_t size) {
    if (size > kMaxCached || static_cast<size_t>(counters.cached.load(std::memory_order_relaxed)) + size >
                                 limit.load(std::memory_order_relaxed))
      return false;
    std::lock_guard lock(mutex);
    free[class_index(size)].push_back(p);
    counters.cached.fetch_add(static_cast<int64_t>(size), std::memory_order_relaxed);
    return true;
  }
  void trim(size_t bytes) {
    std::lock_guard lock(mutex);
    for (int i = 64 * kClasses; i-- > 0;)
      for (const size_t size = free[i].empty() ? 0 : index_size(i); !free[i].empty() && bytes > 0; free[i].pop_back()) {
        std::free(free[i].back());
        counters.cached.fetch_sub(static_cast<int64_t>(size), std::memory_order_relaxed);
        bytes -= size < bytes ? size : bytes;
      }
  }
  void clear() { trim(SIZE_MAX); }
};
LargeCache& large_cache() {
  static LargeCache* cache = new LargeCache;  // never destroyed: tensors in static variables may die later
  return *cache;
}

struct FreeBlock {
  FreeBlock* next;
};
// Trivially constructed thread-local lists; `Flusher` returns them when the thread ends.
struct LocalLists {
  FreeBlock* head[kSmallLimit / kAlign + 1];
  int count[kSmallLimit / kAlign + 1];
  bool closed;
  bool armed;
};
constinit thread_local LocalLists local{};
struct Flusher {
  ~Flusher() {
    local.closed = true;
    for (FreeBlock*& list : local.head)
      while (list) {
        FreeBlock* next = list->next;
        std::free(list);
        list = next;
      }
  }
};
[[gnu::noinline]] void arm_flusher() {
  static thread_local Flusher flusher;
  (void)&flusher;
  local.armed = true;
}

void* small_allocate(size_t size) {
  size_t c = size / kAlign;
  if (FreeBlock* block = local.head[c]) [[likely]] {
    local.head[c] = block->next;
    --local.count[c];
    return block;
  }
  void* p = nullptr;
  if (posix_memalign(&p, kAlign, size) != 0) return nullptr;
  return p;
}
void small_free(void* p, size_t size) noexcept {
  size_t c = size / kAlign;
  if (!local.armed && !local.closed) [[unlikely]]
    arm_flusher();
  if (local.closed || (local.count[c] >= kLocalMax && static_cast<size_t>(local.count[c]) * size >= kLocalBytes))
      [[unlikely]] {
    std::free(p);
    return;
  }
  auto* block = static_cast<FreeBlock*>(p);
  block->next = local.head[c];
  local.head[c] = block;
  ++local.count[c];
}

}  // namespace

namespace detail {

size_t cpu_block_size(size_t bytes) { return class_size(bytes == 0 ? 1 : bytes); }

void* cpu_allocate(size_t bytes) {
  size_t size = class_size(bytes == 0 ? 1 : bytes);
  void* p = nullptr;
  if (WEFT_NO_CACHE) {
    if (posix_memalign(&p, kAlign, size) != 0) p = nullptr;
  } else if (size <= kSmallLimit) {
    return small_allocate(size);  // not counted: too small to matter, too frequent to pay for
  } else {
    p = large_cache().take(size);
    if (!p) p = system_allocate(size);
    if (!p) {
      large_cache().clear();
      p = system_allocate(size);
    }
  }
  WEFT_CHECK(p != nullptr,
             "out of memory: {} bytes asked for on cpu, {} in use by tensors; use smaller tensors or batches", bytes,
             counters.allocated.load());
  if (size > kSmallLimit) count_in(size);
  return p;
}

void cpu_free(void* p, size_t bytes) noexcept {
  size_t size = class_size(bytes == 0 ? 1 : bytes);
  if (size > kSmallLimit) counters.allocated.fetch_sub(static_cast<int64_t>(size), std::memory_order_relaxed);
  if (size >= AddressArena::kLeast && AddressArena::give_back(p, size)) return;
  if (WEFT_NO_CACHE)
    std::free(p);
  else if (size <= kSmallLimit)
    small_free(p, size);
  else if (!large_cache().give(p, size))
    std::free(p);
}

void cpu_trim(size_t bytes) noexcept { large_cache().trim(bytes); }

void AddressArena::keep(size_t bytes) noexcept { count_in(cpu_block_size(bytes)); }

void* slab_allocate(size_t bytes) {
  size_t size = (bytes + kAlign - 1) & ~(kAlign - 1);
  void* p = WEFT_NO_CACHE || size > kSlabLimit ? std::aligned_alloc(kAlign, size) : small_allocate(size);
  if (!p) fail_with(Fault::user, "out of memory: {} bytes", bytes);
  return p;
}
void slab_free(void* p, size_t bytes) noexcept {
  size_t size = (bytes + kAlign - 1) & ~(kAlign - 1);
  if (WEFT_NO_CACHE || size > kSlabLimit)
    std::free(p);
  else
    small_free(p, size);
}

}  // namespace detail

MemoryStats memory_stats() {
  MemoryStats s;
  s.allocated = counters.allocated.load();
  s.peak_allocated = counters.peak.load();
  s.cached = counters.cached.load();
  s.reserved = s.allocated + s.cached;
  s.allocations = counters.allocations.load();
  return s;
}
void reset_peak_memory_stats() { counters.peak.store(counters.allocated.load()); }
void empty_cache() { large_cache().clear(); }
void set_cache_limit(size_t bytes) { large_cache().limit.store(bytes); }

}  // namespace weft
