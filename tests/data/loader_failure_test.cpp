// The loader when things go wrong: datasets that throw, block, or are left early; memory.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "core/error.h"
#include "data/loader.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"
#include "tests/data/loader_helpers.h"

using namespace weft;
using namespace weft::test;

namespace {

double seconds_of(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Mine : std::runtime_error {
  using std::runtime_error::runtime_error;
  int code = 5;
};

enum class What { index_error, standard, own, number };
struct Throws {
  What what;
  int64_t size() const { return 12; }
  int64_t get(int64_t i) const {
    if (i != 7) return i;
    if (what == What::index_error) WEFT_CHECK_INDEX(false, "get: row {} is bad", i);
    if (what == What::standard) throw std::out_of_range("too far");
    if (what == What::own) throw Mine("mine");
    throw 42;
  }
};

/// A gate that samples wait at, however often they are asked to stop.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int inside = 0;
  void wait() {
    std::unique_lock lock(mutex);
    ++inside;
    changed.notify_all();
    changed.wait(lock, [&] { return open; });
    --inside;
    changed.notify_all();
  }
  void release() {
    std::unique_lock lock(mutex);
    open = true;
    changed.notify_all();
    changed.wait(lock, [&] { return inside == 0; });
  }
};
struct Blocks {
  std::shared_ptr<Gate> gate;
  int64_t size() const { return 100; }
  int64_t get(int64_t i) const {
    if (i >= 3) gate->wait();
    return i;
  }
};

}  // namespace

TEST_CASE("loader: an exception arrives with its class, at its batch, and says where") {
  for (const int workers : {0, 1, 3}) {
    for (const What what : {What::index_error, What::standard, What::own, What::number}) {
      data::DataLoader loader(Throws{what}, {.batch_size = 2, .num_workers = workers, .seed = 1});
      loader.set_epoch(4);
      int batches = 0;
      const auto run = [&] {
        for ([[maybe_unused]] auto& batch : loader) ++batches;
      };
      const auto told = [&](const data::WorkerFailure& w) {
        CHECK(w.sample == 7);
        CHECK(w.batch == 3);
        CHECK(w.epoch == 4);
        CHECK((workers == 0 ? w.worker == -1 : w.worker >= 0 && w.worker < workers));
      };
      bool caught = false;
      try {
        run();
      } catch (const IndexError& e) {
        caught = what == What::index_error;
        const std::string text = e.what();
        CHECK(text.find("get: row 7 is bad [DataLoader: sample 7, batch 3 of epoch 4") == 0);
        told(dynamic_cast<const data::WorkerFailure&>(e));
      } catch (const std::out_of_range& e) {
        caught = what == What::standard;
        told(dynamic_cast<const data::WorkerFailure&>(e));
      } catch (const Mine& e) {
        caught = what == What::own && e.code == 5 && e.what() == std::string("mine");
      } catch (int e) {
        caught = what == What::number && e == 42;
      }
      CHECK(caught);
      CHECK(batches == 3);
      REQUIRE(loader.failure());
      told(*loader.failure());
      CHECK(loader.state_dict()["batch"].as_int() == 3);  // to be tried again
    }
  }
}

TEST_CASE("loader: after a bad batch come the others") {
  data::DataLoader loader(Throws{What::own}, {.batch_size = 3, .num_workers = 2});
  auto it = loader.begin();
  ++it;
  CHECK_THROWS_AS(++it, Mine);
  ++it;
  CHECK((*it)[0].item<int64_t>() == 9);
  CHECK(loader.state_dict()["batch"].as_int() == 2);
  ++it;
  CHECK(it == loader.end());
}

TEST_CASE("loader: errors of collate, worker_init, samplers and streams") {
  data::DataLoader<Numbers, int> bad(Numbers{4},
                                     {.num_workers = 2, .collate = [](auto) -> int { WEFT_FAIL("collate: no"); }});
  CHECK(error_of([&] { bad.begin(); }).find("collate: no [DataLoader: batch 0 of epoch 0, worker") == 0);
  data::DataLoader init(Numbers{40}, {.num_workers = 2, .worker_init = [](int worker) {
                                        WEFT_CHECK(worker != 1, "init: not {}", worker);
                                      }});
  CHECK(error_of([&] { bytes_of_epochs(init, 20); }).find("init: not 1 [DataLoader:") == 0);
  data::DataLoader far(Numbers{4}, {.sampler = data::SubsetRandomSampler({9}), .num_workers = 1});
  CHECK(bytes_of_epochs(far, 1).size() == 1);  // whether 9 exists is the dataset's to say
  struct Stream {
    int64_t at = 0;
    std::optional<int64_t> next() {
      WEFT_CHECK(at < 5, "next: line {} is bad", at);
      return at++;
    }
  };
  for (const int workers : {0, 2}) {
    data::DataLoader loader(Stream{}, {.batch_size = 2, .num_workers = workers});
    int batches = 0;
    CHECK(error_of([&] {
            for ([[maybe_unused]] auto& batch : loader) ++batches;
          }).find("next: line 5 is bad [DataLoader: sample 5, batch 2 of epoch 0") == 0);
    CHECK(batches == 2);
  }
}

TEST_CASE("loader: a timeout names who is busy, and the loader can be left") {
  const auto gate = std::make_shared<Gate>();
  data::DataLoader loader(Blocks{gate}, {.num_workers = 1, .timeout = 0.5, .shutdown_timeout = 0.01});
  const double seconds = seconds_of([&] {
    const std::string text = error_of([&] { bytes_of_epochs(loader, 1); });
    CHECK(text.find("no batch within the timeout of 0.5 s (epoch 0); worker 0 is in sample 3 of batch 3 since") !=
          std::string::npos);
  });
  CHECK(seconds < 5);
  CHECK_FALSE(loader.failure());
  gate->release();
}

TEST_CASE("loader: left a thousand times at any moment, with slow, throwing and blocked datasets") {
  struct Slow {
    int64_t size() const { return 20; }
    Tensor get(int64_t i) const {
      if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(30));
      return full({8}, static_cast<double>(i));
    }
  };
  struct Waits {  // for ever, unless told to stop
    int64_t size() const { return 20; }
    int64_t get(int64_t i, const std::stop_token& stop) const {
      if (i < 4) return i;
      std::mutex mutex;
      std::condition_variable_any changed;
      std::unique_lock lock(mutex);
      changed.wait(lock, stop, [] { return false; });
      return i;
    }
  };
  const auto leave = [](auto& loader, int after) {
    int k = 0;
    try {
      if (after < 0) {
        loader.begin();  // and gone
      } else {
        for ([[maybe_unused]] auto& batch : loader)
          if (k++ == after) break;
      }
    } catch (const Mine&) {
    }
  };
  const double seconds = seconds_of([&] {
    for (int round = 0; round < 250; ++round) {
      const int workers = round % 4, after = round % 7 - 1;
      data::DataLoader slow(Slow{},
                            {.batch_size = 2, .shuffle = true, .num_workers = workers, .ordered = round % 2 == 0});
      leave(slow, after);
      data::DataLoader throws(Throws{What::own}, {.batch_size = 2, .num_workers = workers});
      leave(throws, after);
      const bool persistent = round % 3 == 0;
      data::DataLoader waits(Waits{}, {.num_workers = workers + 1, .persistent_workers = persistent});
      leave(waits, std::min(after, 3));
      if (persistent) leave(waits, 0);
      data::DataLoader destroyed(Waits{}, {.num_workers = workers + 1});
      auto it = std::optional(destroyed.begin());
      if (round % 2 == 0) it.reset();
    }
  });
  CHECK(seconds < 30);
}

TEST_CASE("loader: what never returns is left behind after the stated time, and keeps what it needs") {
  std::weak_ptr<Gate> watch;
  {
    const auto gate = std::make_shared<Gate>();
    watch = gate;
    const double seconds = seconds_of([&] {
      for (int round = 0; round < 10; ++round) {
        data::DataLoader loader(Blocks{gate},
                                {.num_workers = 2, .persistent_workers = round % 2 == 0, .shutdown_timeout = 0.01});
        for (auto& batch : loader)
          if (batch.item<int64_t>() == 2) break;
      }
    });
    CHECK(seconds < 5);
    gate->release();
  }
  for (int k = 0; k < 2000 && !watch.expired(); ++k) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(watch.expired());  // the threads ended, and their datasets with them
}

TEST_CASE("loader: an end waits for the calls that run") {
  struct Careful {
    std::atomic<int>* inside;
    int64_t size() const { return 50; }
    int64_t get(int64_t i) const {
      ++*inside;
      if (i > 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      --*inside;
      return i;
    }
  };
  std::atomic<int> inside{0};
  for (int round = 0; round < 5; ++round) {
    data::DataLoader loader(Careful{&inside}, {.num_workers = 3});
    const double seconds = seconds_of([&] {
      for ([[maybe_unused]] auto& batch : loader) break;
    });
    CHECK(inside == 0);
    CHECK(seconds < 5);
  }
}

TEST_CASE("loader: sixteen workers hold no more than they may, and the dataset once") {
  // A gibibyte scaled to 32 MiB; batches of 256 KiB.
  struct Counts {
    std::shared_ptr<std::atomic<int64_t>> copies = std::make_shared<std::atomic<int64_t>>(0);
    Tensor all = ones({512, 64, 256});
    Counts() = default;
    Counts(const Counts& o) : copies(o.copies), all(o.all) { ++*copies; }
    Counts(Counts&&) = default;
    int64_t size() const { return 512; }
    Tensor get(int64_t i) const { return all[i]; }
  };
  const auto run = [](int64_t bytes, int64_t factor) {
    Counts dataset;
    const auto copies = dataset.copies;
    data::DataLoader loader(std::move(dataset), {.batch_size = 4,
                                                 .shuffle = true,
                                                 .num_workers = 16,
                                                 .prefetch_factor = static_cast<int>(factor),
                                                 .prefetch_bytes = bytes});
    for ([[maybe_unused]] auto& first : loader) break;  // threads and their free lists are there
    const int64_t before = memory_stats().allocated;
    reset_peak_memory_stats();
    int64_t batches = 0;
    for ([[maybe_unused]] auto& batch : loader) {
      if (++batches % 16 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    CHECK(batches == 128);
    CHECK(*copies == 0);
    return memory_stats().peak_allocated - before;
  };
  const int64_t batch = 4 * 64 * 256 * 4;
  // One at the consumer, sixteen that begin before the size of one is known, what waits; the bound holds for the rest.
  CHECK(run(0, 2) <= (2 * 16 + 1) * batch * 5 / 4);
  CHECK(run(2 * batch, 8) <= (16 + 2 + 1) * batch * 5 / 4);
}
