#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "kernels/cuda/runtime.h"

// Free and used pieces of device memory of one stream. The caller holds the device's lock.
namespace weft::gpu {

inline constexpr size_t kGranule = 512;
inline constexpr size_t kSmallest = kGranule;
inline constexpr size_t kSmallMost = size_t{1} << 20;      // larger blocks come from the large pool
inline constexpr size_t kSmallSegment = size_t{2} << 20;   // small blocks are carved from these
inline constexpr size_t kLargeSegment = size_t{20} << 20;  // and large ones from these,
inline constexpr size_t kOwnSegment = size_t{10} << 20;    // or from one of their own size from here on,
inline constexpr size_t kSegmentStep = size_t{2} << 20;    // in these steps

class Pool;

/// A piece of a segment. Block objects are used again but never deleted: a stale pointer reads another block.
struct Block {
  enum class State : uint8_t { live, quick, free, waiting, unmapped };

  char* data = nullptr;
  size_t size = 0, requested = 0;
  Block *before = nullptr, *after = nullptr;   ///< neighbours in the segment
  Block *previous = nullptr, *next = nullptr;  ///< in a free list
  Pool* pool = nullptr;
  std::atomic<const char*> op{nullptr};  ///< that it was made for, or null
  State state = State::free;
  int events = 0;                   ///< that must pass before it is free
  std::vector<cudaStream_t> users;  ///< streams beside the pool's own

  bool whole() const { return !before && !after; }
};

/// From data pointer to block: open addressing, linear probing.
class BlockTable {
 public:
  Block* find(const void* data) const;
  void insert(Block* block);
  void erase(const Block* block);
  template <class F>
  void each(const F& f) const {
    for (Block* b : slots_)
      if (b) f(b);
  }

 private:
  size_t home(const void* data) const {
    return (reinterpret_cast<uintptr_t>(data) / kGranule * 0x9e3779b97f4a7c15ull) >> shift_;
  }
  void grow();

  std::vector<Block*> slots_ = std::vector<Block*>(16);
  size_t count_ = 0;
  int shift_ = 60;
};

/// What all pools of a device share.
struct Blocks {
  BlockTable table;
  std::vector<Block*> spare;

  Block* make(char* data, size_t size, Pool* pool);
  void drop(Block* block);
};

class Pool {
 public:
  Pool(Blocks& blocks, cudaStream_t stream, bool small);

  cudaStream_t stream() const { return stream_; }
  bool small() const { return small_; }
  /// The smallest free block of at least `size`, cut to it and live; null when there is none.
  Block* take(size_t size);
  /// A live block comes back.
  void give(Block* block);
  /// New memory.
  void add_segment(char* data, size_t size) { insert(blocks_.make(data, size, this)); }
  /// Joins what small blocks were kept for their own size.
  void join();
  /// A free block that is a whole segment of at least `size`, no longer of this pool; null when there is none.
  Block* take_segment(size_t size);
  void adopt(Block* segment) {
    segment->pool = this;
    insert(segment);
  }
  size_t largest_free();

  /// A large pool may own a range of addresses (virtual_memory.h) instead of segments.
  void own_addresses(char* base, size_t bytes);
  bool expandable() const { return base_ != nullptr; }
  /// Maps memory until a block of `size` is there. Gives the bytes mapped, 0 when there are none.
  size_t expand(size_t size);
  /// Unmaps the whole chunks of free blocks, which no work uses any more, and gives their bytes.
  size_t shrink();

 private:
  struct BySize {
    bool operator()(const Block* a, const Block* b) const {
      return a->size != b->size ? a->size < b->size : a->data < b->data;
    }
  };

  struct ByAddress {
    bool operator()(const Block* a, const Block* b) const { return a->data < b->data; }
  };

  Block* best_fit(size_t size);
  Block* split(Block* block, size_t size);
  void insert(Block* block);
  void remove(Block* block);
  void merge(Block* block);
  void cut(Block* block, size_t size);

  Blocks& blocks_;
  cudaStream_t stream_;
  bool small_, any_quick_ = false;
  // A small pool has a list for each number of granules; a bit says that it is not empty.
  static constexpr size_t kLists = kSmallSegment / kGranule + 1;
  std::vector<Block*> lists_, quick_;
  std::vector<uint64_t> filled_;
  std::set<Block*, BySize> by_size_;  // of a large pool
  char* base_ = nullptr;              // of its addresses
  std::set<Block*, ByAddress> unmapped_;
};

}  // namespace weft::gpu
