#include "core/parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"

using weft::parallel_for;

namespace {
struct Threads {
  explicit Threads(int n) : before(weft::num_threads()) { weft::set_num_threads(n); }
  ~Threads() { weft::set_num_threads(before); }
  int before;
};

double sum_by_pieces(const std::vector<float>& x) {
  const int64_t grain = 100;
  std::vector<float> partial((x.size() + grain - 1) / grain);
  parallel_for(static_cast<int64_t>(x.size()), grain, [&](int64_t begin, int64_t end) {
    partial[begin / grain] = std::accumulate(x.begin() + begin, x.begin() + end, 0.0f);
  });
  return std::accumulate(partial.begin(), partial.end(), 0.0f);
}
}  // namespace

TEST_CASE("parallel_for covers every index once") {
  for (int threads : {1, 2, 4}) {
    Threads guard(threads);
    REQUIRE(weft::num_threads() == threads);
    for (int64_t n : {0, 1, 2, 7, 64, 1000, 100003}) {
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> hits(n);
        parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) hits[i].fetch_add(1, std::memory_order_relaxed);
        });
        int64_t wrong = 0;
        for (auto& hit : hits) wrong += hit.load() != 1;
        CAPTURE(n, grain, threads);
        REQUIRE(wrong == 0);
      }
    }
  }
}

TEST_CASE("parallel_for with more threads than pieces, and the other way round") {
  for (int threads = 2; threads <= 9; ++threads) {
    Threads guard(threads);
    for (int64_t pieces = 1; pieces <= 40; ++pieces) {
      std::vector<std::atomic<int>> hits(pieces);
      parallel_for(pieces, 1, [&](int64_t i, int64_t) { hits[i].fetch_add(1); });
      int64_t wrong = 0;
      for (auto& hit : hits) wrong += hit.load() != 1;
      CAPTURE(threads, pieces);
      REQUIRE(wrong == 0);
    }
  }
}

TEST_CASE("parallel_for: others take what a slow thread has left, errors included") {
  Threads guard(2);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> others{0};
    parallel_for(16, 1, [&](int64_t i, int64_t) {
      if (i == 0)
        while (others.load() < 15) std::this_thread::yield();
      else
        others.fetch_add(1);
    });
    CHECK(others.load() == 15);
    others = 0;
    CHECK_THROWS_AS(parallel_for(16, 1,
                                 [&](int64_t i, int64_t) {
                                   if (i == 7) {
                                     others = 1;
                                     throw std::runtime_error("of a share of another thread");
                                   }
                                   if (i == 0)
                                     while (others.load() == 0) std::this_thread::yield();
                                 }),
                    std::runtime_error);
  }
}

TEST_CASE("grains of cheap work are even, and larger for more elements") {
  CHECK(weft::grain_of(1, 32768) >= 1);
  CHECK(weft::grain_of(8191, 32768) >= 8191);
  CHECK(weft::grain_of(8192, 32768) == 4096);
  CHECK(weft::grain_of(int64_t{1} << 40, 32768) == 32768);
  int64_t before = 4096;
  for (int64_t n = 1 << 13; n < 1 << 21; n += 4097) {
    const int64_t grain = weft::grain_of(n, 32768);
    CHECK(grain + 4096 > before);
    CHECK(grain >= 4096);
    CHECK((n + grain - 1) / grain <= std::max<int64_t>(16, n / 32768 + 1));
    before = grain;
  }
}

TEST_CASE("parallel_for cuts pieces that do not depend on the thread count") {
  std::vector<float> x(12345);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1.0f / (1.0f + i);
  std::vector<double> sums;
  for (int threads : {1, 2, 3, 4}) {
    Threads guard(threads);
    sums.push_back(sum_by_pieces(x));
  }
  for (double sum : sums) REQUIRE(sum == sums[0]);
}

TEST_CASE("parallel_for: exceptions reach the caller and the pool goes on") {
  for (int threads : {1, 3}) {
    Threads guard(threads);
    for (int round = 0; round < 20; ++round) {
      REQUIRE_THROWS_AS(parallel_for(100, 1,
                                     [&](int64_t begin, int64_t) {
                                       if (begin == 37) throw std::runtime_error("piece 37");
                                     }),
                        std::runtime_error);
      std::atomic<int64_t> total{0};
      parallel_for(100, 1, [&](int64_t begin, int64_t) { total += begin; });
      REQUIRE(total == 4950);
    }
  }
}

TEST_CASE("parallel_for: nested calls run on their own thread") {
  Threads guard(3);
  REQUIRE_FALSE(weft::in_parallel_region());
  std::atomic<int> outside{0}, count{0};
  parallel_for(16, 1, [&](int64_t, int64_t) {
    const auto self = std::this_thread::get_id();
    if (!weft::in_parallel_region()) ++outside;
    parallel_for(10, 1, [&](int64_t, int64_t) {
      if (std::this_thread::get_id() != self) ++outside;
      ++count;
    });
  });
  REQUIRE(outside == 0);
  REQUIRE(count == 160);
  REQUIRE_FALSE(weft::in_parallel_region());
}

TEST_CASE("parallel_for: several calling threads at once") {
  Threads guard(2);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        std::vector<int> hits(257, 0);
        parallel_for(257, 8, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++hits[i];
        });
        for (int hit : hits) wrong += hit != 1;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  REQUIRE(wrong == 0);
}

#if !defined(__SANITIZE_THREAD__)  // it knows no threads after fork()
TEST_CASE("parallel_for: a forked process goes on without the threads, and ends") {
  Threads two(2);
  const std::vector<float> x(100000, 1.0f);
  CHECK(sum_by_pieces(x) == 100000);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    // It may get the stack, and with it the handle, of a thread that the parent had.
    for (int i = 0; i < 4; ++i) std::thread([] { pause(); }).detach();
    const bool right = sum_by_pieces(x) == 100000;
    weft::set_num_threads(1);
    std::exit(right && sum_by_pieces(x) == 100000 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEST_CASE("set_num_threads refuses nonsense") {
  REQUIRE_THROWS_AS(weft::set_num_threads(0), weft::Error);
  Threads guard(2);
  REQUIRE_THROWS_AS(parallel_for(64, 1, [](int64_t, int64_t) { weft::set_num_threads(2); }), weft::Error);
}
