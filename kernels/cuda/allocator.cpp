#include "kernels/cuda/allocator.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/device_backend.h"
#include "kernels/cuda/block_pool.h"
#include "kernels/cuda/virtual_memory.h"
#ifdef WEFT_CUDA_EMULATE
#include "kernels/cuda/emulate/blocks.h"
#endif

namespace weft::gpu {
namespace {

#ifdef WEFT_CUDA_EMULATE
using emulate::block_given, emulate::block_taken, emulate::kTail, emulate::segment_given, emulate::segment_taken;
#else
constexpr size_t kTail = 0;
inline void segment_taken(void*, size_t) {}
inline void segment_given(void*, size_t) {}
inline void block_taken(void*, size_t, size_t, cudaStream_t, int) {}
inline void block_given(void*, size_t, size_t, cudaStream_t, int, const char*) {}
#endif

size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// Blocks that this thread took since it last ran an op: results of the op to come.
struct Unnamed {
  static constexpr unsigned kMost = 8;  // the last ones
  Block* blocks[kMost];
  unsigned count;
};
constinit thread_local Unnamed unnamed{};

std::atomic<bool> expandable{[] {
  const char* v = std::getenv("WEFT_CUDA_EXPANDABLE");
  return v && *v && std::strcmp(v, "0") != 0;
}()};

class DeviceMemory {
 public:
  explicit DeviceMemory(int device) : device_(device) {}

  void* take(size_t bytes, cudaStream_t stream);
  void give(void* p) noexcept;
  bool record(void* p, cudaStream_t stream);
  void stats(MemoryStats& out) {
    std::lock_guard lock(mutex_);
    out = {allocated_, peak_, reserved_, reserved_ - allocated_, allocations_};
  }
  void reset_peak() {
    std::lock_guard lock(mutex_);
    peak_ = allocated_;
  }
  void empty() {
    std::lock_guard lock(mutex_);
    if (reserved_ == 0) return;
    const OnDevice on(device_);
    pass_events(false);
    release_segments();
  }

 private:
  struct StreamPools {
    Pool small, large;
    StreamPools(Blocks& blocks, cudaStream_t s) : small(blocks, s, true), large(blocks, s, false) {}
  };
  struct Waiting {
    cudaEvent_t event;
    Block* block;
  };
  struct Queue {
    cudaStream_t stream;
    std::deque<Waiting> waiting;
  };

  Pool& pool_of(cudaStream_t stream, bool small) {
    StreamPools* found = last_;
    if (!found || found->small.stream() != stream) [[unlikely]]
      found = find_pools(stream);
    return small ? found->small : found->large;
  }
  StreamPools* find_pools(cudaStream_t stream) {
    for (auto& p : pools_)
      if (p->small.stream() == stream) return last_ = p.get();
    pools_.push_back(std::make_unique<StreamPools>(blocks_, stream));
    last_ = pools_.back().get();
    if (expandable) own_addresses(last_->large);
    return last_;
  }
  void own_addresses(Pool& pool) {
    const OnDevice on(device_);
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) return;
    const size_t bytes = round_up(2 * total, kChunk);  // room beside holes
    if (void* base = reserve_addresses(bytes)) pool.own_addresses(static_cast<char*>(base), bytes);
  }

  Block* find_more(Pool& pool, size_t size);
  bool adopt_idle(Pool& pool, size_t size);
  bool new_segment(Pool& pool, size_t bytes);
  void release_segments();
  void pass_events(bool wait);
  void wait_for_users(Block* block);
  void back_to_pool(Block* block) {
    block_given(block->data, block->requested, block->size, block->pool->stream(), device_, block->op);
    block->pool->give(block);
  }
  std::string out_of_memory(size_t bytes);

  const int device_;
  std::mutex mutex_;
  Blocks blocks_;
  std::vector<std::unique_ptr<StreamPools>> pools_;
  StreamPools* last_ = nullptr;
  std::vector<Queue> queues_;  // blocks whose other users are not known to be done
  size_t waiting_ = 0;
  std::vector<cudaEvent_t> spare_events_;
  int64_t allocated_ = 0, peak_ = 0, reserved_ = 0, allocations_ = 0;
};

void* DeviceMemory::take(size_t bytes, cudaStream_t stream) {
  const size_t size = std::max(round_up(bytes + kTail, kGranule), kSmallest);
  std::string failure;
  {
    std::lock_guard lock(mutex_);
    if (waiting_) [[unlikely]]
      pass_events(false);
    Pool& pool = pool_of(stream, size <= kSmallMost);
    Block* b = pool.take(size);
    if (!b) [[unlikely]]
      b = find_more(pool, size);
    if (b) [[likely]] {
      b->requested = bytes;
      b->op.store(detail::running_op, std::memory_order_relaxed);
      if (!detail::running_op) unnamed.blocks[unnamed.count++ % Unnamed::kMost] = b;
      allocated_ += int64_t(b->size);
      peak_ = std::max(peak_, allocated_);
      ++allocations_;
      block_taken(b->data, bytes, b->size, stream, device_);
      return b->data;
    }
    failure = out_of_memory(bytes);
  }
  detail::fail_with(detail::Fault::user, "{}", failure);
}

void DeviceMemory::give(void* p) noexcept {
  std::lock_guard lock(mutex_);
  Block* b = blocks_.table.find(p);
  if (!b || b->state != Block::State::live) return;
  allocated_ -= int64_t(b->size);
  if (b->users.empty()) [[likely]]
    back_to_pool(b);
  else
    wait_for_users(b);
}

bool DeviceMemory::record(void* p, cudaStream_t stream) {
  std::lock_guard lock(mutex_);
  Block* b = blocks_.table.find(p);
  if (!b || b->state != Block::State::live) return false;
  if (stream != b->pool->stream() && std::find(b->users.begin(), b->users.end(), stream) == b->users.end())
    b->users.push_back(stream);
  return true;
}

void DeviceMemory::wait_for_users(Block* block) {
  const OnDevice on(device_);
  block->state = Block::State::waiting;
  block->events = int(block->users.size());
  for (cudaStream_t user : block->users) {
    cudaEvent_t event = nullptr;
    if (!spare_events_.empty()) {
      event = spare_events_.back();
      spare_events_.pop_back();
    } else if (cudaEventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess) {
      event = nullptr;
    }
    if (!event || cudaEventRecord(event, user) != cudaSuccess) {  // the context is lost, or the stream
      cudaGetLastError();
      --block->events;
      continue;
    }
    auto queue = std::find_if(queues_.begin(), queues_.end(), [&](const Queue& q) { return q.stream == user; });
    if (queue == queues_.end()) queue = queues_.insert(queue, Queue{user, {}});
    queue->waiting.push_back({event, block});
    ++waiting_;
  }
  block->users.clear();
  if (block->events == 0) back_to_pool(block);
}

void DeviceMemory::pass_events(bool wait) {
  for (Queue& queue : queues_)
    while (!queue.waiting.empty()) {
      const Waiting w = queue.waiting.front();
      const cudaError_t status = wait ? cudaEventSynchronize(w.event) : cudaEventQuery(w.event);
      if (status == cudaErrorNotReady) break;
      if (status != cudaSuccess) cudaGetLastError();
      queue.waiting.pop_front();
      --waiting_;
      spare_events_.push_back(w.event);
      if (--w.block->events == 0) back_to_pool(w.block);
    }
}

Block* DeviceMemory::find_more(Pool& pool, size_t size) {
  const OnDevice on(device_);
  const size_t exact = pool.small() ? kSmallSegment : round_up(size, kSegmentStep);
  const size_t segment = pool.small() || size >= kOwnSegment ? exact : kLargeSegment;
  const auto grow = [&](size_t bytes) {
    if (!pool.expandable()) return new_segment(pool, bytes);
    const size_t mapped = pool.expand(size);
    reserved_ += int64_t(mapped);
    return mapped != 0;
  };
  bool found = adopt_idle(pool, size) || grow(segment) || (segment != exact && grow(exact));
  if (!found) {
    release_segments();
    found = grow(exact);
  }
  if (!found && waiting_) {
    pass_events(true);
    if (Block* b = pool.take(size)) return b;
    release_segments();
    found = grow(exact);
  }
  return found ? pool.take(size) : nullptr;
}

// A free segment of a stream that has nothing left to do.
bool DeviceMemory::adopt_idle(Pool& pool, size_t size) {
  if (pool.expandable()) return false;
  for (auto& pools : pools_) {
    Pool& other = pool.small() ? pools->small : pools->large;
    if (&other == &pool) continue;
    const cudaError_t status = cudaStreamQuery(other.stream());
    if (status != cudaSuccess) {
      if (status != cudaErrorNotReady) cudaGetLastError();
      continue;
    }
    if (Block* segment = other.take_segment(size)) {
      pool.adopt(segment);
      return true;
    }
  }
  return false;
}

bool DeviceMemory::new_segment(Pool& pool, size_t bytes) {
  void* p = nullptr;
  if (cudaMalloc(&p, bytes) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  segment_taken(p, bytes);
  reserved_ += int64_t(bytes);
  pool.add_segment(static_cast<char*>(p), bytes);
  return true;
}

void DeviceMemory::release_segments() {
  for (auto& pools : pools_) {
    if (pools->large.expandable()) {
      if (cudaStreamSynchronize(pools->large.stream()) != cudaSuccess) cudaGetLastError();
      reserved_ -= int64_t(pools->large.shrink());
    }
    for (Pool* pool : {&pools->small, &pools->large})
      while (Block* segment = pool->take_segment(1)) {
        segment_given(segment->data, segment->size);
        cudaFree(segment->data);  // waits for work that may still use it
        reserved_ -= int64_t(segment->size);
        blocks_.drop(segment);
      }
  }
}

std::string size_text(size_t bytes) {
  char text[32];
  if (bytes < size_t{1} << 20)
    std::snprintf(text, sizeof text, "%.1f KiB", double(bytes) / 1024);
  else if (bytes < size_t{1} << 30)
    std::snprintf(text, sizeof text, "%.1f MiB", double(bytes) / (1 << 20));
  else
    std::snprintf(text, sizeof text, "%.2f GiB", double(bytes) / (1 << 30));
  return text;
}

std::string DeviceMemory::out_of_memory(size_t bytes) {
  const OnDevice on(device_);
  size_t free = 0, total = 0, largest = 0;
  cudaMemGetInfo(&free, &total);
  for (auto& pools : pools_) largest = std::max({largest, pools->small.largest_free(), pools->large.largest_free()});
  std::vector<const Block*> live;
  blocks_.table.each([&](const Block* b) {
    if (b->state == Block::State::live) live.push_back(b);
  });
  const size_t shown = std::min<size_t>(live.size(), 5);
  std::partial_sort(live.begin(), live.begin() + std::ptrdiff_t(shown), live.end(),
                    [](const Block* a, const Block* b) { return a->size > b->size; });
  std::string text = detail::running_op ? std::string(detail::running_op) + ": " : "";
  text += detail::format(
      "out of memory: {} asked for on cuda:{}, which has {} free of {}; weft holds {}, of which {} are in use and the "
      "largest free block is {}",
      {size_text(bytes), device_, size_text(free), size_text(total), size_text(size_t(reserved_)),
       size_text(size_t(allocated_)), size_text(largest)});
  for (size_t i = 0; i < shown; ++i) {
    const char* op = live[i]->op;
    text += i ? ", " : "; largest tensors: ";
    text += size_text(live[i]->requested) + " of " + (op ? op : "no op");
  }
  return text + "; use smaller tensors or batches";
}

constexpr int kMaxDevices = 64;
DeviceMemory& memory_of(int device) {
  static DeviceMemory** all = [] {  // never destroyed: tensors in static variables may die later
    auto** memories = new DeviceMemory*[kMaxDevices];
    for (int d = 0; d < kMaxDevices; ++d) memories[d] = new DeviceMemory(d);
    return memories;
  }();
  return *all[device];
}

}  // namespace

void* allocate(size_t bytes, int device) { return memory_of(device).take(bytes, current_stream(device)); }
void release(void* p, size_t, int device) noexcept { memory_of(device).give(p); }
void record_stream(void* p, cudaStream_t stream) {
  for (int d = 0; d < kMaxDevices; ++d)
    if (memory_of(d).record(p, stream)) return;
}
void allocator_stats(int device, MemoryStats& out) { memory_of(device).stats(out); }
void set_expandable(bool on) { expandable = on; }
void reset_peak(int device) { memory_of(device).reset_peak(); }
void empty_cache() {
  for (int d = 0; d < kMaxDevices; ++d) memory_of(d).empty();
}

void name_blocks(const char* op) {
  for (unsigned i = 0; i < std::min(unnamed.count, Unnamed::kMost); ++i)
    unnamed.blocks[i]->op.store(op, std::memory_order_relaxed);
  unnamed.count = 0;
}

Workspace::Workspace(size_t bytes) : bytes_(bytes) {
  device_ = current_device();
  data_ = allocate(bytes, device_);
}
Workspace::~Workspace() { release(data_, bytes_, device_); }

}  // namespace weft::gpu
