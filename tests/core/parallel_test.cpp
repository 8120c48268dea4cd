#include "core/parallel.h"

#include <sys/wait.h>
#include <unistd.h>

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
