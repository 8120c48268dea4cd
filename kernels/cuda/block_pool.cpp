#include "kernels/cuda/block_pool.h"

#include <bit>

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

void Pool::cut(Block* block, size_t size) {
  const size_t rest = block->size - size;
  if (small_ ? rest < kSmallest : rest <= kSmallMost) return;
  Block* other = blocks_.make(block->data + size, rest, this);
  other->before = block;
  other->after = block->after;
  if (other->after) other->after->before = other;
  block->after = other;
  block->size = size;
  insert(other);
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

}  // namespace weft::gpu
