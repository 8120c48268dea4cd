#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/emulate/device_code.h"
#include "kernels/cuda/emulate/fiber.h"
#include "kernels/cuda/emulate/grid.h"
#include "kernels/cuda/launch_check.h"

thread_local uint3 threadIdx, blockIdx;
thread_local dim3 blockDim, gridDim;

namespace weft::gpu::emulate {
namespace {

enum class State : uint8_t { ready, barrier, warp, returned };

struct Thread {
  Fiber fiber;
  uint3 index{};
  State state = State::ready;
  Collective kind{};
  int line = 0;
  unsigned mask = 0;
  int source = 0;
  uint64_t value = 0;
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// One launch: runs its blocks one after the other.
class Launch {
 public:
  Launch(dim3 grid, dim3 block, size_t shared, const Body& body, Order order, unsigned char poison);
  void run();
  void run_thread() const { body_.thread(body_.argument); }

  void barrier(int line);
  uint64_t warp_meet(Collective kind, unsigned mask, uint64_t value, int source, int line);
  void enter_shared(void* variable, size_t bytes);
  void* dynamic_shared() { return shared_.get(); }
  int lane() const { return current_ % warpSize; }

  Fiber host;
  Thread& current() { return threads_[current_]; }
  std::exception_ptr error;

 private:
  void run_block(uint64_t index);
  void wait(State state, int line);
  uint64_t random();
  size_t choose();  // which of the ready threads is next
  [[noreturn]] void fail_stuck() const;

  dim3 grid_, block_;
  size_t shared_bytes_;
  Body body_;
  Order order_;
  unsigned char poison_;
  std::unique_ptr<void, Free> shared_;
  std::vector<Thread> threads_;
  std::vector<int> ready_;
  std::vector<void*> entered_;
  size_t entered_bytes_ = 0;
  int current_ = 0, arrived_ = 0;
  uint64_t random_state_;
};

thread_local Launch* running = nullptr;

[[noreturn]] void fiber_main() {
  Launch& launch = *running;
  started(launch.host);
  try {
    launch.run_thread();
  } catch (...) {
    launch.error = std::current_exception();
  }
  Thread& self = launch.current();
  self.state = State::returned;
  switch_fiber(self.fiber, launch.host, true);
  __builtin_unreachable();
}

Launch::Launch(dim3 grid, dim3 block, size_t shared, const Body& body, Order order, unsigned char poison)
    : grid_(grid),
      block_(block),
      shared_bytes_(shared),
      body_(body),
      order_(order),
      poison_(poison),
      shared_(shared ? std::aligned_alloc(16, (shared + 15) / 16 * 16) : nullptr),
      threads_(size_t(block.x) * block.y * block.z),
      random_state_(settings().seed * 0x9e3779b97f4a7c15ull + 1) {}

uint64_t Launch::random() {  // splitmix64
  uint64_t z = random_state_ += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void Launch::run() {
  gridDim = grid_;
  blockDim = block_;
  const uint64_t blocks = uint64_t(grid_.x) * grid_.y * grid_.z,
                 first = order_ == Order::seeded ? random() % blocks : 0;
  for (uint64_t b = 0; b < blocks; ++b) run_block(order_ == Order::down ? blocks - 1 - b : (b + first) % blocks);
}

size_t Launch::choose() {
  if (order_ == Order::up) return size_t(std::min_element(ready_.begin(), ready_.end()) - ready_.begin());
  if (order_ == Order::down) return size_t(std::max_element(ready_.begin(), ready_.end()) - ready_.begin());
  return random() % ready_.size();
}

void Launch::run_block(uint64_t index) {
  blockIdx = {unsigned(index % grid_.x), unsigned(index / grid_.x % grid_.y), unsigned(index / grid_.x / grid_.y)};
  ++counts().blocks;
  entered_.clear();
  entered_bytes_ = 0;
  if (shared_) std::memset(shared_.get(), poison_, shared_bytes_);
  char* memory = stacks(threads_.size());
  ready_.clear();
  arrived_ = 0;
  for (size_t t = 0; t < threads_.size(); ++t) {
    threads_[t] = Thread{};
    threads_[t].index = {unsigned(t % block_.x), unsigned(t / block_.x % block_.y), unsigned(t / block_.x / block_.y)};
    prepare(threads_[t].fiber, stack_of(memory, t), kStackSize, fiber_main);
    ready_.push_back(int(t));
  }
  size_t returned = 0;
  while (returned < threads_.size()) {
    if (ready_.empty()) fail_stuck();
    std::swap(ready_[choose()], ready_.back());
    current_ = ready_.back();
    ready_.pop_back();
    threadIdx = current().index;
    ++counts().switches;
    switch_fiber(host, current().fiber);
    if (error) std::rethrow_exception(error);
    returned += current().state == State::returned;
  }
}

void Launch::wait(State state, int line) {
  Thread& self = current();
  self.state = state;
  self.line = line;
  switch_fiber(self.fiber, host);
}

void Launch::barrier(int line) {
  current().line = line;
  if (++arrived_ == int(threads_.size())) {
    for (const Thread& t : threads_)
      WEFT_ASSERT(t.line == line, "launch: divergent barrier: threads of a block wait in lines {} and {}", t.line,
                  line);
    arrived_ = 0;
    for (size_t t = 0; t < threads_.size(); ++t) {
      threads_[t].state = State::ready;
      ready_.push_back(int(t));
    }
    switch_fiber(current().fiber, host);
  } else {
    wait(State::barrier, line);
  }
}

uint64_t Launch::warp_meet(Collective kind, unsigned mask, uint64_t value, int source, int line) {
  int first = current_ / warpSize * warpSize, own = lane();
  WEFT_ASSERT(mask >> own & 1, "launch: lane {} calls a warp function in line {} with mask {}, which lacks it", own,
              line, int64_t(mask));
  Thread& self = current();
  self.kind = kind;
  self.mask = mask;
  self.value = value;
  self.source = source;
  self.line = line;
  self.state = State::warp;
  auto lane_thread = [&](int l) { return size_t(first + l) < threads_.size() ? &threads_[first + l] : nullptr; };
  bool complete = true;
  for (int l = 0; l < warpSize; ++l) {
    const Thread* t = mask >> l & 1 ? lane_thread(l) : nullptr;
    if (mask >> l & 1)
      complete &= t && t->state == State::warp && t->kind == kind && t->mask == mask && t->line == line;
  }
  if (complete) {  // the last to come takes what each lane asked for, before any of them can bring a new value
    uint64_t results[warpSize], votes = 0, poison = poison_ * 0x0101010101010101ull;
    for (int l = 0; l < warpSize; ++l)
      if (mask >> l & 1 && lane_thread(l)->value) votes |= 1ull << l;
    for (int l = 0; l < warpSize; ++l) {
      if (!(mask >> l & 1)) continue;
      int from = lane_thread(l)->source;
      results[l] = kind == Collective::ballot ? votes : mask >> from & 1 ? lane_thread(from)->value : poison;
    }
    for (int l = 0; l < warpSize; ++l) {
      if (!(mask >> l & 1)) continue;
      Thread* t = lane_thread(l);
      t->value = results[l];
      t->state = State::ready;
      ready_.push_back(first + l);
    }
  }
  switch_fiber(self.fiber, host);
  return self.value;
}

void Launch::enter_shared(void* variable, size_t bytes) {
  for (void* seen : entered_)
    if (seen == variable) return;
  entered_.push_back(variable);
  entered_bytes_ += bytes;
  WEFT_ASSERT(entered_bytes_ <= kDefaultShared, "launch: shared variables of {} bytes; a kernel has {}", entered_bytes_,
              kDefaultShared);
  std::memset(variable, poison_, bytes);
}

void Launch::fail_stuck() const {
  std::string text;
  int returned = 0;
  std::vector<bool> told(threads_.size());
  for (size_t t = 0; t < threads_.size(); ++t) {
    const Thread& a = threads_[t];
    returned += a.state == State::returned;
    if (told[t] || a.state == State::returned) continue;
    int alike = 0;
    for (size_t u = t; u < threads_.size(); ++u) {
      const Thread& b = threads_[u];
      if (b.state == a.state && b.line == a.line && (a.state == State::barrier || b.mask == a.mask)) {
        told[u] = true;
        ++alike;
      }
    }
    if (a.state == State::barrier)
      text += detail::format("{} at __syncthreads in line {}, ", {alike, a.line});
    else
      text += detail::format("{} at a warp function in line {} with mask {}, ", {alike, a.line, int64_t(a.mask)});
  }
  detail::fail_with(detail::Fault::internal,
                    "launch: divergent barrier: no thread of the block can go on; {}{} returned", text, returned);
}

}  // namespace

void run_ordered(dim3 grid, dim3 block, size_t shared, const Body& body, Order order, unsigned char poison) {
  ++counts().launches;
  Launch launch(grid, block, shared, body, order, poison);
  struct Running {
    explicit Running(Launch* l) { running = l; }
    ~Running() { running = nullptr; }
  } guard(&launch);
  launch.run();
}

void run_grid(dim3 grid, dim3 block, size_t shared, const Body& body) {
  if (settings().races)
    run_twice(grid, block, shared, body);
  else
    run_ordered(grid, block, shared, body, Order::seeded, settings().poison);
}

void enter_shared(void* variable, size_t bytes) { running->enter_shared(variable, bytes); }
void* dynamic_shared() { return running->dynamic_shared(); }
void barrier(int line) { running->barrier(line); }
uint64_t warp_meet(Collective kind, unsigned mask, uint64_t value, int source, int line) {
  return running->warp_meet(kind, mask, value, source, line);
}
int lane() { return running->lane(); }

}  // namespace weft::gpu::emulate
