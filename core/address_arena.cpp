#include "core/address_arena.h"

#include <sys/mman.h>

#include <mutex>

#include "core/allocator.h"

namespace weft::detail {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSizes[] = {size_t{64} << 30, size_t{1} << 30};  // the second where addresses are limited
constexpr int kMost = 64;

std::atomic<AddressArena*> arenas[kMost];
std::atomic<int> n_arenas{0};
std::mutex making;

// A block is as large as cpu_allocate's would be: those who reuse it rely on that.
size_t pages(size_t bytes) { return (cpu_block_size(bytes) + kPage - 1) / kPage * kPage; }

}  // namespace

AddressArena* AddressArena::take() noexcept {
  const auto free_one = [] {
    for (int i = 0; i < n_arenas.load(std::memory_order_acquire); ++i) {
      AddressArena* a = arenas[i].load(std::memory_order_relaxed);
      bool taken = false;
      if (a->taken_.compare_exchange_strong(taken, true, std::memory_order_acquire)) return a;
    }
    return static_cast<AddressArena*>(nullptr);
  };
  AddressArena* a = free_one();
  if (!a) {
    const std::lock_guard lock(making);
    const int n = n_arenas.load(std::memory_order_relaxed);
    if (n == kMost) return nullptr;
    for (size_t size : kSizes) {
      void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (base == MAP_FAILED) continue;
      a = new AddressArena(static_cast<char*>(base), size);
      break;
    }
    if (!a) return nullptr;
    a->taken_.store(true, std::memory_order_relaxed);
    arenas[n].store(a, std::memory_order_relaxed);
    n_arenas.store(n + 1, std::memory_order_release);
  }
  a->holders_.store(1, std::memory_order_relaxed);
  a->used_ = 0;
  return a;
}

void AddressArena::leave() noexcept { release(); }

void AddressArena::release() noexcept {
  if (holders_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // The headers of storages have been written: the same calls find these pages again, others give them up.
  if (used_ != used_before_) madvise(base_, used_ > used_before_ ? used_ : used_before_, MADV_DONTNEED);
  used_before_ = used_;
  taken_.store(false, std::memory_order_release);
}

void* AddressArena::allocate(size_t bytes) noexcept {
  const size_t size = pages(bytes);
  if (size > size_ - used_) return nullptr;
  void* block = base_ + used_;
  used_ += size;
  holders_.fetch_add(1, std::memory_order_relaxed);
  return block;
}

bool AddressArena::give_back(void* block, size_t bytes) noexcept {
  char* at = static_cast<char*>(block);
  for (int i = 0; i < n_arenas.load(std::memory_order_acquire); ++i) {
    AddressArena* a = arenas[i].load(std::memory_order_relaxed);
    if (at < a->base_ || at >= a->base_ + a->size_) continue;
    madvise(at, pages(bytes), MADV_DONTNEED);
    a->release();
    return true;
  }
  return false;
}

}  // namespace weft::detail
