#include "kernels/cuda/pinned.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <mutex>
#include <vector>

namespace weft::gpu {
namespace {

struct Use {
  cudaEvent_t event;
  cudaStream_t stream;
  int device;
};
struct PinnedBlock {
  size_t size = 0;
  std::vector<Use> uses;  // the last copy of each stream
};

class PinnedMemory {
 public:
  void* take(size_t bytes);
  void give(void* p);
  void use(const void* p, cudaStream_t stream);
  bool holds(const void* p) {
    std::lock_guard lock(mutex_);
    return around(p) != blocks_.end();
  }
  void empty() {
    std::lock_guard lock(mutex_);
    for (auto& list : free_) {
      for (char* p : list) {
        cudaFreeHost(p);
        blocks_.erase(p);
      }
      list.clear();
    }
  }

 private:
  using Blocks = std::map<const char*, PinnedBlock>;
  Blocks::iterator around(const void* p) {
    auto it = blocks_.upper_bound(static_cast<const char*>(p));
    if (it == blocks_.begin()) return blocks_.end();
    --it;
    return static_cast<const char*>(p) < it->first + it->second.size ? it : blocks_.end();
  }
  bool is_over(PinnedBlock& block);
  static size_t list_of(size_t size) { return size_t(std::countr_zero(size)); }

  std::mutex mutex_;
  Blocks blocks_;
  std::vector<char*> free_[64];  // by the power of two
  std::vector<char*> waiting_;
};

bool PinnedMemory::is_over(PinnedBlock& block) {
  std::erase_if(block.uses, [](const Use& use) {
    if (cudaEventQuery(use.event) == cudaErrorNotReady) return false;
    cudaEventDestroy(use.event);
    return true;
  });
  return block.uses.empty();
}

void* PinnedMemory::take(size_t bytes) {
  const size_t size = std::bit_ceil(std::max<size_t>(bytes, 4096));
  std::lock_guard lock(mutex_);
  std::erase_if(waiting_, [&](char* p) {
    PinnedBlock& block = blocks_.at(p);
    if (!is_over(block)) return false;
    free_[list_of(block.size)].push_back(p);
    return true;
  });
  auto& list = free_[list_of(size)];
  if (!list.empty()) {
    char* p = list.back();
    list.pop_back();
    return p;
  }
  void* p = nullptr;
  check(cudaHostAlloc(&p, size, cudaHostAllocDefault), "pin_memory");
  blocks_[static_cast<char*>(p)].size = size;
  return p;
}

void PinnedMemory::give(void* p) {
  std::lock_guard lock(mutex_);
  PinnedBlock& block = blocks_.at(static_cast<char*>(p));
  if (is_over(block))
    free_[list_of(block.size)].push_back(static_cast<char*>(p));
  else
    waiting_.push_back(static_cast<char*>(p));
}

void PinnedMemory::use(const void* p, cudaStream_t stream) {
  std::lock_guard lock(mutex_);
  const auto it = around(p);
  if (it == blocks_.end()) return;
  const int device = current_device();
  auto& uses = it->second.uses;
  auto known =
      std::find_if(uses.begin(), uses.end(), [&](const Use& u) { return u.stream == stream && u.device == device; });
  if (known == uses.end()) {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "copy");
    known = uses.insert(known, {event, stream, device});
  }
  check(cudaEventRecord(known->event, stream), "copy");
}

PinnedMemory& memory() {
  static PinnedMemory* m = new PinnedMemory;  // never destroyed: tensors in static variables may die later
  return *m;
}

}  // namespace

void* allocate_pinned(size_t bytes) { return memory().take(bytes); }
void release_pinned(void* p) noexcept { memory().give(p); }
void use_pinned(const void* p, cudaStream_t stream) { memory().use(p, stream); }
void empty_pinned() { memory().empty(); }

bool is_pinned(const void* p) {
  if (memory().holds(p)) return true;
  cudaPointerAttributes a;
  if (cudaPointerGetAttributes(&a, p) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return a.type == cudaMemoryTypeHost;
}

}  // namespace weft::gpu
