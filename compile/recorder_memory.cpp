// Memory of tensors that begin and end while a recorder takes their kernels.
#include <algorithm>

#include "compile/recorder.h"
#include "core/allocator.h"
#include "core/error.h"

namespace weft::graph {
namespace {
constexpr size_t kReuse = 16384;  // bytes; smaller blocks are not worth keeping apart
}

void Recorder::new_group() {
  free_.insert(free_.end(), freed_.begin(), freed_.end());
  freed_.clear();
}

// No kernel waits that needs memory of dropped tensors.
void Recorder::give_back() noexcept {
  new_group();
  for (const auto& [block, bytes] : free_) detail::cpu_free(block, bytes);
  free_.clear();
}

// By buffer: whether somebody holds it. What is held has memory from now on.
std::vector<char> Recorder::alive_now(const Graph& g) {
  known_.for_each([&](Known& k) { need_memory(k); });
  std::vector<char> alive(g.buffers.size(), 0);
  for (size_t b = 0; b < alive.size() && b < slots_.size(); ++b) alive[b] = slots_[b].held || slots_[b].alive;
  return alive;
}

void Recorder::need_memory(Known& k) {
  if (!k.lazy) return;
  detail::AddressArena::keep(k.lazy);
  k.lazy = 0;
  if (k.slot >= 0 && static_cast<size_t>(k.slot) < slots_.size()) slots_[static_cast<size_t>(k.slot)].lazy = false;
}

// What became of the last call's large blocks.
void Recorder::expect_births() {
  if (births_known_) return;
  births_known_ = true;
  std::lock_guard lock(cache_.mutex);
  if (stretch_ >= cache_.expected.size()) return;
  expected_passing_ = cache_.expected[stretch_]->passing;
  places_ = cache_.expected[stretch_]->places;
}

// Earlier calls kept as many blocks for what now shares one of `bytes`: both would be in memory.
void Recorder::make_room(size_t bytes) {
  const size_t size = detail::cpu_block_size(bytes);
  if (std::find(block_sizes_.begin(), block_sizes_.end(), size) != block_sizes_.end()) return;
  if (block_sizes_.size() == kMostTexts) return;
  block_sizes_.push_back(size);
  detail::cpu_trim(size);
}

Storage* Recorder::part(size_t bytes) {
  if (bytes < detail::AddressArena::kLeast) return nullptr;
  expect_births();
  const size_t birth = passing_.size();
  if (!places_ || birth >= places_->at.size() || places_->at[birth] < 0 || places_->bytes[birth] != bytes)
    return nullptr;
  if (!results_) {
    std::lock_guard lock(cache_.mutex);
    // Somebody still holds results of the last call: one of them would keep the memory of all.
    if (!places_->last.expired()) places_ = nullptr;
    if (!places_) return nullptr;
    results_bytes_ = places_->results;
    make_room(results_bytes_);
    try {
      places_->last = results_ = StorageBlock::allocate(results_bytes_);
    } catch (const Error&) {  // each of them may still find memory
      places_ = nullptr;
      return nullptr;
    }
  }
  Storage* s = StorageBlock::part(results_, static_cast<size_t>(places_->at[birth]), bytes);
  passing_.push_back(kKept);
  known_[s] = {.slot = -1, .birth = static_cast<int>(birth), .born = true, .reused = false, .lazy = 0};
  return s;
}

// Where the results of the next call go.
void Recorder::place_results(const std::shared_ptr<const Plan>& plan) {
  const Layout& layout = plan->with_results;
  if (!layout.results || (entry_->places && entry_->places->plan.lock() == plan)) return;
  const auto places = std::make_shared<ResultPlaces>();
  places->plan = plan;
  places->results = layout.results;
  places->at.assign(passing_.size(), -1);
  places->bytes.assign(passing_.size(), 0);
  size_t missing = 0;
  for (size_t b = 0; b < layout.at.size(); ++b) missing += plan->alive[b] && layout.at[b] >= 0;
  known_.for_each([&](Known& k) {
    if (k.birth < 0 || k.slot < 0 || static_cast<size_t>(k.slot) >= layout.at.size()) return;
    const auto slot = static_cast<size_t>(k.slot), birth = static_cast<size_t>(k.birth);
    if (!plan->alive[slot] || layout.at[slot] < 0 || passing_[birth] == kSeen) return;
    places->at[birth] = layout.at[slot];
    places->bytes[birth] = slots_[slot].bytes;
    --missing;
  });
  if (missing == 0) entry_->places = places;
}

void* Recorder::allocate_lazily(size_t bytes, size_t birth) {
  expect_births();
  if (!expected_passing_ || birth >= expected_passing_->size() || (*expected_passing_)[birth] != kPassed || no_arena_)
    return nullptr;
  if (!arena_ && !(arena_ = detail::AddressArena::take())) {
    no_arena_ = true;
    return nullptr;
  }
  return arena_->allocate(bytes);
}

void* Recorder::allocate(size_t bytes) {
  int birth = -1;
  if (bytes >= detail::AddressArena::kLeast) {
    birth = static_cast<int>(passing_.size());
    passing_.push_back(kKept);
    if (void* block = allocate_lazily(bytes, static_cast<size_t>(birth))) {
      known_[block] = {.slot = -1, .birth = birth, .born = true, .reused = false, .lazy = bytes};
      return block;
    }
  }
  if (bytes >= kReuse) {
    const size_t size = detail::cpu_block_size(bytes);
    for (size_t i = free_.size(); i-- > 0;) {
      if (free_[i].second != size) continue;
      void* block = free_[i].first;
      known_[block] = {.slot = -1, .birth = birth, .born = true, .reused = true, .lazy = 0};
      free_.erase(free_.begin() + static_cast<ptrdiff_t>(i));
      return block;
    }
  }
  void* block = detail::cpu_allocate(bytes);
  known_[block] = {.slot = -1, .birth = birth, .born = true, .reused = false, .lazy = 0};
  return block;
}

void Recorder::release(void* block, size_t bytes) noexcept {
  if (!exposed_.empty()) std::erase(exposed_, static_cast<Storage*>(block));
  const Known* known = known_.find(block);
  if (!known) return bytes ? detail::cpu_free(block, bytes) : void();
  const Known k = *known;
  known_.erase(block);
  if (k.slot >= 0) slots_[static_cast<size_t>(k.slot)].alive = false;
  if (k.birth >= 0 && passing_[static_cast<size_t>(k.birth)] != kSeen) passing_[static_cast<size_t>(k.birth)] = kPassed;
  if (bytes == 0) return;  // a part of results_, which ends with this stretch at the earliest
  if (k.lazy)
    arena_->drop();
  else if (recording_)
    detail::cpu_free(block, bytes);
  else if (k.slot >= 0 || k.reused)
    freed_.push_back({block, detail::cpu_block_size(bytes)});
  else
    detail::cpu_free(block, bytes);
}

}  // namespace weft::graph
