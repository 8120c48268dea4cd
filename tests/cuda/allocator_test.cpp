#include "kernels/cuda/allocator.h"

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "kernels/cuda/pinned.h"
#include "tests/cuda/need_device.h"
#include "weft.h"

namespace {

using namespace weft;
using namespace weft::gpu;

constexpr size_t kKiB = 1 << 10, kMiB = 1 << 20;

// More work than a device does while the host looks away.
void keep_busy(const cuda::Stream& stream) {
  static void* target = [] {
    void* p = nullptr;
    check(cudaMalloc(&p, 64 * kKiB), "test");
    return p;
  }();
  for (int i = 0; i < 200; ++i)
    check(cudaMemsetAsync(target, i, 64 * kKiB, static_cast<cudaStream_t>(stream.handle())), "test");
}

TEST_CASE("a freed block is handed out again at once to its own stream") {
  NEED_DEVICES(1);
  for (size_t bytes : {size_t(0), size_t(1), size_t(1000), 300 * kKiB, 3 * kMiB, 30 * kMiB}) {
    void* p = allocate(bytes, 0);
    CHECK(reinterpret_cast<uintptr_t>(p) % 512 == 0);
    release(p, bytes, 0);
    void* q = allocate(bytes, 0);
    CHECK(p == q);
    release(q, bytes, 0);
  }
}

TEST_CASE("neighbours are cut from one segment and joined again") {
  NEED_DEVICES(1);
  cuda::synchronize();
  cuda::empty_cache();
  const cuda::Stream stream = cuda::Stream::create();
  const cuda::StreamGuard guard(stream);
  const auto test = [](size_t each, int count, size_t joined, size_t segment) {
    const int64_t before = cuda::memory_stats().reserved;
    std::vector<void*> p;
    for (int i = 0; i < count; ++i) p.push_back(allocate(each, 0));
    const int64_t reserved = cuda::memory_stats().reserved;
    CHECK(reserved == before + int64_t(segment));
    for (int odd : {0, 1})
      for (int i = odd; i < count; i += 2) release(p[size_t(i)], each, 0);
    void* q = allocate(joined, 0);
    CHECK(q == p[0]);
    CHECK(cuda::memory_stats().reserved == reserved);
    release(q, joined, 0);
  };
  test(100 * kKiB, 18, 900 * kKiB, 2 * kMiB);
  test(2 * kMiB, 5, 10 * kMiB, 20 * kMiB);
}

TEST_CASE("the smallest block that fits is taken") {
  NEED_DEVICES(1);
  const cuda::Stream stream = cuda::Stream::create();
  const cuda::StreamGuard guard(stream);
  void *a = allocate(6 * kMiB, 0), *wall = allocate(2 * kMiB, 0), *b = allocate(3 * kMiB, 0),
       *wall2 = allocate(2 * kMiB, 0);
  release(a, 6 * kMiB, 0);
  release(b, 3 * kMiB, 0);
  void* c = allocate(3 * kMiB, 0);
  CHECK(c == b);
  for (void* p : {wall, wall2, c}) release(p, 0, 0);
}

TEST_CASE("counters of device memory") {
  NEED_DEVICES(1);
  const MemoryStats before = cuda::memory_stats();
  cuda::reset_peak_memory_stats();
  void* p = allocate(5 * kMiB, 0);
  const MemoryStats with = cuda::memory_stats();
  CHECK(with.allocated - before.allocated >= int64_t(5 * kMiB));
  CHECK(with.allocated - before.allocated <= int64_t(6 * kMiB + kKiB));
  CHECK(with.allocations == before.allocations + 1);
  CHECK(with.reserved == with.allocated + with.cached);
  release(p, 5 * kMiB, 0);
  const MemoryStats after = cuda::memory_stats();
  CHECK(after.allocated == before.allocated);
  CHECK(after.peak_allocated == with.allocated);
  CHECK(after.reserved == with.reserved);
  cuda::empty_cache();
  CHECK(cuda::memory_stats().reserved <= after.reserved - int64_t(5 * kMiB));
}

TEST_CASE("another stream gets a free segment only when its stream has nothing left to do") {
  NEED_DEVICES(1);
  const cuda::Stream one = cuda::Stream::create(), two = cuda::Stream::create();
  const auto allocate_on = [](const cuda::Stream& s, size_t bytes) {
    const cuda::StreamGuard guard(s);
    return allocate(bytes, 0);
  };
  cuda::synchronize();
  cuda::empty_cache();
  void* p = allocate_on(one, 24 * kMiB);
  keep_busy(one);
  release(p, 24 * kMiB, 0);
  void* q = allocate_on(two, 24 * kMiB);
  if (q == p) CHECK(one.query());
  one.synchronize();
  void* r = q == p ? nullptr : allocate_on(two, 24 * kMiB);
  if (!std::getenv("WEFT_CUDA_EXPANDABLE")) CHECK((q == p || r == p));
  release(q, 24 * kMiB, 0);
  if (r) release(r, 24 * kMiB, 0);
}

TEST_CASE("record_stream: a block waits for the streams that use it") {
  NEED_DEVICES(1);
  const cuda::Stream side = cuda::Stream::create();
  for (int round = 0; round < 10; ++round) {
    Tensor t = zeros({3000000}, {.device = "cuda"});
    const void* p = t.impl()->data;
    cuda::record_stream(t, side);
    keep_busy(side);
    t = Tensor();
    const Tensor u = empty({3000000}, {.device = "cuda"});
    if (u.impl()->data == p) CHECK(side.query());
    side.synchronize();
    const Tensor v = empty({3000000}, {.device = "cuda"});
    CHECK((u.impl()->data == p || v.impl()->data == p));
  }
}

TEST_CASE("expandable memory: free neighbours serve a larger block, and holes go back to the driver") {
  NEED_DEVICES(1);
  cuda::synchronize();
  cuda::empty_cache();
  const int64_t before = cuda::memory_stats().reserved;
  set_expandable(true);
  const cuda::Stream known[] = {cuda::Stream::create(-1, true), cuda::Stream::create(-1, true)};
  const cuda::Stream stream = cuda::Stream::create(-1, true);  // that nobody allocated for
  const cuda::StreamGuard guard(stream);
  void* p[10];
  for (void*& one : p) one = allocate(15 * kMiB, 0);
  set_expandable(false);
  CHECK(cuda::memory_stats().reserved - before == int64_t(160 * kMiB));
  for (int i = 2; i < 8; ++i) release(p[i], 15 * kMiB, 0);
  void* big = allocate(90 * kMiB - 64, 0);
  CHECK(big == p[2]);
  check(cudaMemsetAsync(big, 1, 90 * kMiB - 64, static_cast<cudaStream_t>(stream.handle())), "test");
  CHECK(cuda::memory_stats().reserved - before == int64_t(160 * kMiB));
  release(big, 0, 0);
  cuda::empty_cache();
  CHECK(cuda::memory_stats().reserved - before == int64_t(80 * kMiB));
  big = allocate(200 * kMiB, 0);  // at the end
  void* again = allocate(60 * kMiB, 0);
  CHECK(again >= p[2]);
  CHECK(again < p[8]);
  for (void* one : {p[0], p[1], p[8], p[9], big, again}) release(one, 0, 0);
  cuda::empty_cache();
  CHECK(cuda::memory_stats().reserved == before);
}

TEST_CASE("many threads allocate and free, and no two blocks overlap") {
  NEED_DEVICES(1);
  std::mutex mutex;
  std::map<char*, size_t> live;
  std::atomic<int> overlaps{0};
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 4; ++id)
    threads.emplace_back([&, id] {
      const cuda::Stream stream = cuda::Stream::create();
      const cuda::StreamGuard guard(stream);
      std::mt19937 random(id);
      std::vector<std::pair<char*, size_t>> own;
      for (int step = 0; step < 1500; ++step) {
        if (own.size() < 20 && random() % 5 < 3) {
          const size_t bytes = random() % (random() % 8 ? 40 * kKiB : 4 * kMiB);
          char* p = static_cast<char*>(allocate(bytes, 0));
          std::lock_guard lock(mutex);
          auto next = live.lower_bound(p);
          overlaps += next != live.end() && p + bytes > next->first;
          if (next != live.begin()) overlaps += std::prev(next)->first + std::prev(next)->second > p;
          live[p] = bytes;
          own.emplace_back(p, bytes);
        } else if (!own.empty()) {
          std::swap(own[random() % own.size()], own.back());
          {
            std::lock_guard lock(mutex);
            live.erase(own.back().first);
          }
          release(own.back().first, own.back().second, 0);
          own.pop_back();
        }
      }
      for (auto& [p, bytes] : own) {
        {
          std::lock_guard lock(mutex);
          live.erase(p);
        }
        release(p, bytes, 0);
      }
    });
  for (auto& t : threads) t.join();
  CHECK(overlaps == 0);
  cuda::synchronize();
}

TEST_CASE("out of memory: the text says where the memory is") {
  NEED_DEVICES(1);
  const Tensor big = full({5, 1000, 1000}, 2, {.device = "cuda"});
  const std::string text = message_of([] { empty({1 << 20, 1 << 20}, {.device = "cuda"}); });
  INFO(text);
  CHECK(has(text, "out of memory: 4096.00 GiB asked for on cuda:0, which has"));
  CHECK(has(text, "the largest free block is"));
  CHECK(has(text, "largest tensors:"));
  CHECK(has(text, "of fill"));
  CHECK(has(text, "use smaller tensors or batches"));
  CHECK(message_of([] { zeros({4}, {.device = "cuda"}); }) == "no error");
}

TEST_CASE("pinned blocks are kept, and wait for the copies that use them") {
  NEED_DEVICES(1);
  cuda::synchronize();
  void* p = allocate_pinned(100000);
  CHECK(is_pinned(p));
  release_pinned(p);
  CHECK(allocate_pinned(100000) == p);
  const cuda::Stream stream = cuda::Stream::create();
  keep_busy(stream);
  use_pinned(p, static_cast<cudaStream_t>(stream.handle()));
  release_pinned(p);
  void* q = allocate_pinned(100000);
  if (q == p) CHECK(stream.query());
  stream.synchronize();
  void* r = allocate_pinned(100000);
  CHECK((q == p || r == p));
  release_pinned(q);
  release_pinned(r);
  const std::vector<int> pageable(4);
  CHECK_FALSE(is_pinned(pageable.data()));
}

#ifdef WEFT_CUDA_EMULATE
struct Restore {
  emulate::Settings before = emulate::settings();
  ~Restore() { emulate::settings() = before; }
};

TEST_CASE("what is cached or waits for a stream comes back before memory runs out") {
  const Restore restore;
  cuda::synchronize();
  cuda::empty_cache();
  emulate::settings().memory = size_t(cuda::memory_stats().reserved) + 64 * kMiB;
  void* p[3];
  for (void*& one : p) one = allocate(15 * kMiB, 0);
  for (void* one : p) release(one, 15 * kMiB, 0);
  void* big = allocate(55 * kMiB, 0);  // no segment has that much: all go back first
  const cuda::Stream side = cuda::Stream::create();
  keep_busy(side);
  record_stream(big, static_cast<cudaStream_t>(side.handle()));
  release(big, 55 * kMiB, 0);
  void* again = nullptr;
  CHECK(message_of([&] { again = allocate(55 * kMiB, 0); }) == "no error");
  CHECK(has(message_of([&] { allocate(20 * kMiB, 0); }), "out of memory: 20.0 MiB asked for"));
  void* small = allocate(3 * kMiB, 0);  // 20 MiB are not there, 4 are
  release(small, 3 * kMiB, 0);
  release(again, 55 * kMiB, 0);
  cuda::empty_cache();
}
#endif

}  // namespace
