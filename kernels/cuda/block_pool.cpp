#include "kernels/cuda/block_pool.h"

#include <bit>

#include "kernels/cuda/virtual_memory.h"

namespace weft::gpu {

// ---- the table

Block* BlockTable::find(const void* data) const {
  for (size_t i = home(data);; i = (i + 1) & (slots_.size() - 1)) {
    Block* b = slots_[i];
    if (!b || b->data == data) return b;
  }
}

void BlockTable::insert(Block* block) {
  if (++count_ * 2 > slots_.size()) grow();
  size_t i = home(block->data);
  while (slots_[i]) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = block;
}

void BlockTable::erase(const Block* block) {
  const size_t mask = slots_.size() - 1;
  size_t hole = home(block->data);
  while (slots_[hole] != block) hole = (hole + 1) & mask;
  // What follows moves up, unless it already is at or behind its home.
  for (size_t i = (hole + 1) & mask; slots_[i]; i = (i + 1) & mask) {
    if (((i - home(slots_[i]->data)) & mask) < ((i - hole) & mask)) continue;
    slots_[hole] = slots_[i];
    hole = i;
  }
  slots_[hole] = nullptr;
  --count_;
}

void BlockTable::grow() {
  std::vector<Block*> old(slots_.size() * 2);
  old.swap(slots_);
  --shift_;
  for (Block* b : old) {
    if (!b) continue;
    size_t i = home(b->data);
    while (slots_[i]) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = b;
  }
}

Block* Blocks::make(char* data, size_t size, Pool* pool) {
  Block* b = nullptr;
  if (spare.empty()) {
    b = new Block;
  } else {
    b = spare.back();
    spare.pop_back();
  }
  b->data = data;
  b->size = size;
  b->before = b->after = b->previous = b->next = nullptr;
  b->pool = pool;
  table.insert(b);
  return b;
}

void Blocks::drop(Block* block) {
  table.erase(block);
  spare.push_back(block);
}

// ---- the pool

Pool::Pool(Blocks& blocks, cudaStream_t stream, bool small) : blocks_(blocks), stream_(stream), small_(small) {
  if (!small) return;
  lists_.resize(kLists);
  quick_.resize(kLists);
  filled_.resize(kLists / 64 + 1);
}

void Pool::insert(Block* block) {
  block->state = Block::State::free;
  if (!small_) {
    by_size_.insert(block);
    return;
  }
  const size_t list = block->size / kGranule;
  Block*& head = lists_[list];
  block->previous = nullptr;
  block->next = head;
  if (head) head->previous = block;
  head = block;
  filled_[list / 64] |= uint64_t{1} << list % 64;
}

void Pool::remove(Block* block) {
  if (!small_) {
    by_size_.erase(block);
    return;
  }
  const size_t list = block->size / kGranule;
  if (block->next) block->next->previous = block->previous;
  (block->previous ? block->previous->next : lists_[list]) = block->next;
  if (!lists_[list]) filled_[list / 64] &= ~(uint64_t{1} << list % 64);
}

Block* Pool::best_fit(size_t size) {
  if (!small_) {
    Block wanted;
    wanted.size = size;
    const auto found = by_size_.lower_bound(&wanted);
    return found == by_size_.end() ? nullptr : *found;
  }
  size_t list = size / kGranule, word = list / 64;
  uint64_t bits = filled_[word] & (~uint64_t{0} << list % 64);
  while (!bits && ++word < filled_.size()) bits = filled_[word];
  return bits ? lists_[word * 64 + size_t(std::countr_zero(bits))] : nullptr;
}

// The part behind the first `size` bytes becomes a block of its own, in no list.
Block* Pool::split(Block* block, size_t size) {
  Block* rest = blocks_.make(block->data + size, block->size - size, this);
  rest->before = block;
  rest->after = block->after;
  if (rest->after) rest->after->before = rest;
  block->after = rest;
  block->size = size;
  return rest;
}

void Pool::cut(Block* block, size_t size) {
  const size_t rest = block->size - size;
  if (small_ ? rest >= kSmallest : rest > kSmallMost) insert(split(block, size));
}

Block* Pool::take(size_t size) {
  if (small_) {
    Block*& head = quick_[size / kGranule];
    if (Block* b = head) [[likely]] {
      head = b->next;
      b->state = Block::State::live;
      return b;
    }
  }
  Block* b = best_fit(size);
  if (!b && any_quick_) {
    join();
    b = best_fit(size);
  }
  if (!b) return nullptr;
  remove(b);
  cut(b, size);
  b->state = Block::State::live;
  return b;
}

void Pool::give(Block* block) {
  if (!small_) return merge(block);
  block->state = Block::State::quick;
  Block*& head = quick_[block->size / kGranule];
  block->next = head;
  head = block;
  any_quick_ = true;
}

void Pool::merge(Block* block) {
  if (Block* b = block->before; b && b->state == Block::State::free) {
    remove(b);
    b->size += block->size;
    b->after = block->after;
    if (b->after) b->after->before = b;
    blocks_.drop(block);
    block = b;
  }
  if (Block* a = block->after; a && a->state == Block::State::free) {
    remove(a);
    block->size += a->size;
    block->after = a->after;
    if (block->after) block->after->before = block;
    blocks_.drop(a);
  }
  insert(block);
}

void Pool::join() {
  any_quick_ = false;
  for (Block*& head : quick_)
    while (Block* b = head) {
      head = b->next;
      merge(b);
    }
}

Block* Pool::take_segment(size_t size) {
  if (expandable()) return nullptr;
  if (any_quick_) join();
  if (small_) {
    Block* b = lists_[kLists - 1];
    if (b) remove(b);
    return b;
  }
  Block wanted;
  wanted.size = size;
  for (auto found = by_size_.lower_bound(&wanted); found != by_size_.end(); ++found)
    if ((*found)->whole()) {
      Block* b = *found;
      by_size_.erase(found);
      return b;
    }
  return nullptr;
}

size_t Pool::largest_free() {
  if (any_quick_) join();
  if (!small_) return by_size_.empty() ? 0 : (*by_size_.rbegin())->size;
  for (size_t list = kLists; list-- > 0;)
    if (lists_[list]) return list * kGranule;
  return 0;
}

// ---- growing and shrinking in place

void Pool::own_addresses(char* base, size_t bytes) {
  base_ = base;
  Block* all = blocks_.make(base, bytes, this);
  all->state = Block::State::unmapped;
  unmapped_.insert(all);
}

size_t Pool::expand(size_t size) {
  for (Block* hole : unmapped_) {
    const Block* before = hole->before;
    const size_t have = before && before->state == Block::State::free ? before->size : 0;
    const size_t bytes = (size - have + kChunk - 1) / kChunk * kChunk;
    if (have >= size || bytes > hole->size) continue;
    if (!map_memory(hole->data, bytes)) return 0;
    unmapped_.erase(hole);
    if (hole->size > bytes) {
      Block* rest = split(hole, bytes);
      rest->state = Block::State::unmapped;
      unmapped_.insert(rest);
    }
    merge(hole);
    return bytes;
  }
  return 0;
}

size_t Pool::shrink() {
  size_t unmapped = 0;
  for (Block* b : std::vector<Block*>(by_size_.begin(), by_size_.end())) {
    const size_t start = (size_t(b->data - base_) + kChunk - 1) / kChunk * kChunk,
                 end = size_t(b->data + b->size - base_) / kChunk * kChunk;
    if (start >= end) continue;
    remove(b);
    if (base_ + start > b->data) {
      Block* rest = split(b, size_t(base_ + start - b->data));
      insert(b);
      b = rest;
    }
    if (b->size > end - start) insert(split(b, end - start));
    unmap_memory(b->data, b->size);
    unmapped += b->size;
    b->state = Block::State::unmapped;
    if (Block* a = b->after; a && a->state == Block::State::unmapped) {
      unmapped_.erase(a);
      b->size += a->size;
      b->after = a->after;
      if (b->after) b->after->before = b;
      blocks_.drop(a);
    }
    if (Block* a = b->before; a && a->state == Block::State::unmapped) {
      a->size += b->size;
      a->after = b->after;
      if (a->after) a->after->before = a;
      blocks_.drop(b);
    } else {
      unmapped_.insert(b);
    }
  }
  return unmapped;
}

}  // namespace weft::gpu
