// The loader: what it delivers, in which order, for any number of workers.
#include "data/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/ops/shape.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"
#include "tests/data/loader_helpers.h"
#include "tests/device.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("loader: every sample once, in batches, the last one smaller") {
  for (const int workers : {0, 1, 2, 5}) {
    data::DataLoader loader(Numbers{10}, {.batch_size = 4, .num_workers = workers});
    CHECK(loader.size() == 3);
    std::vector<int64_t> sizes;
    std::vector<double> seen;
    for (auto [x, y] : loader) {
      sizes.push_back(x.size(0));
      CHECK(x.sizes() == Dims{x.size(0), 3});
      CHECK(y.dtype() == DType::i64);
      for (int64_t i = 0; i < y.size(0); ++i) seen.push_back(y[i].item<double>());
    }
    CHECK(sizes == std::vector<int64_t>{4, 4, 2});
    CHECK(seen == std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    data::DataLoader even(Numbers{10}, {.batch_size = 4, .num_workers = workers, .drop_last = true});
    CHECK(even.size() == 2);
    CHECK(bytes_of_epochs(even, 1).size() == 2);
    data::DataLoader none(Numbers{0}, {.batch_size = 4, .num_workers = workers});
    for ([[maybe_unused]] auto& batch : none) FAIL("a batch of an empty dataset");
  }
}

TEST_CASE("loader: the same bytes for any number of workers, another order each epoch") {
  const auto run = [](int workers, bool persistent, uint64_t seed) {
    data::DataLoader loader(
        Augmented{23},
        {.batch_size = 4, .shuffle = true, .num_workers = workers, .persistent_workers = persistent, .seed = seed});
    return bytes_of_epochs(loader, 3);
  };
  const std::vector<std::string> expected = run(0, false, 7);
  CHECK(expected.size() == 18);
  CHECK(expected[0] != expected[6]);
  for (const int workers : {1, 2, 5}) {
    CHECK(run(workers, false, 7) == expected);
    CHECK(run(workers, true, 7) == expected);
  }
  CHECK(run(2, false, 8) != expected);
  // The random numbers of the program are left alone, and seed the loader where it has no seed.
  manual_seed(3);
  const Tensor before = rand({4});
  manual_seed(3);
  run(0, false, 7);
  CHECK(same_bits(rand({4}), before));
  const auto seed = [] { return data::DataLoader(Numbers{4}).seed(); };
  manual_seed(3);
  const uint64_t first = seed();
  CHECK(seed() != first);
  manual_seed(3);
  CHECK(seed() == first);
}

TEST_CASE("loader: augmentation depends on the sample alone") {
  data::DataLoader one(Augmented{12}, {.batch_size = 1, .seed = 5}), all(Augmented{12}, {.batch_size = 12, .seed = 5});
  std::string single;
  for (const std::string& bytes : bytes_of_epochs(one, 1)) single += bytes;
  CHECK(single == bytes_of_epochs(all, 1)[0]);
}

TEST_CASE("loader: resumes at every batch of every epoch, with another number of workers") {
  using Loader = data::DataLoader<Augmented>;
  const auto make = [](int workers) {
    return Loader(Augmented{11}, {.batch_size = 3, .shuffle = true, .num_workers = workers, .seed = 1});
  };
  Loader whole = make(0);
  const std::vector<std::string> expected = bytes_of_epochs(whole, 3);
  REQUIRE(expected.size() == 12);
  for (const int workers : {0, 2}) {
    for (size_t stop = 0; stop <= expected.size(); ++stop) {
      Loader first = make(workers);
      std::vector<std::string> seen;
      Value state = first.state_dict();
      int64_t epochs_left = 3;
      if (stop > 0) {
        while (seen.size() < stop) {
          --epochs_left;
          for (auto& batch : first) {
            seen.push_back(bytes_of(batch));
            if (seen.size() == stop) break;
          }
        }
        state = first.state_dict();
        ++epochs_left;  // the one under way, which may have no batch left
      }
      Loader second = make(workers == 0 ? 3 : 0);
      second.load_state_dict(state);
      CHECK(second.state_dict() == state);
      for (const std::string& bytes : bytes_of_epochs(second, epochs_left)) seen.push_back(bytes);
      CHECK(seen == expected);
    }
  }
}

TEST_CASE("loader: a state after the end of an epoch, and of other data") {
  data::DataLoader loader(Numbers{6}, {.batch_size = 2, .seed = 9});
  bytes_of_epochs(loader, 1);
  CHECK(loader.epoch() == 1);
  const Value state = loader.state_dict();
  CHECK(state["epoch"].as_int() == 1);
  CHECK(state["batch"].as_int() == 0);
  data::DataLoader other(Numbers{7}, {.batch_size = 2});
  CHECK(error_of([&] { other.load_state_dict(state); }).find("of 6 samples in batches of 2") != std::string::npos);
  CHECK(error_of([&] { loader.load_state_dict(3); }).find("got int") != std::string::npos);
  CHECK(error_of([&] { loader.load_state_dict(Value::dict()); }).find("no 'seed'") != std::string::npos);
  loader.set_epoch(4);
  CHECK(loader.epoch() == 4);
  const auto four = bytes_of_epochs(loader, 1);
  loader.set_epoch(4);
  CHECK(bytes_of_epochs(loader, 1) == four);
}

TEST_CASE("loader: iterations are independent of each other") {
  for (const int workers : {0, 2}) {
    data::DataLoader loader(
        Numbers{4}, {.batch_size = 2, .shuffle = true, .num_workers = workers, .persistent_workers = workers > 0});
    int inner = 0;
    for ([[maybe_unused]] auto& a : loader)
      for ([[maybe_unused]] auto& b : loader) ++inner;
    CHECK(inner == 4);
    for ([[maybe_unused]] auto& a : loader) break;
    CHECK(bytes_of_epochs(loader, 1).size() == 2);  // after a break a whole epoch
    data::DataLoader other(Numbers{4}, {.batch_size = 2, .num_workers = workers});
    auto b = other.begin();
    int both = 0;
    for (auto a = loader.begin(); a != loader.end() && b != other.end(); ++a, ++b) ++both;
    CHECK(both == 2);
    auto kept = std::optional(other.begin());
    data::DataLoader moved = std::move(other);
    CHECK(bytes_of(**kept) == bytes_of_epochs(moved, 1)[0]);
  }
}

TEST_CASE("loader: a slow sample stalls only who asks for order") {
  struct Slow {  // sample 0 comes when the others have been delivered
    std::shared_ptr<std::atomic<int>> delivered = std::make_shared<std::atomic<int>>(0);
    int64_t size() const { return 6; }
    int64_t get(int64_t i, const std::stop_token& stop) const {
      for (int k = 0; i == 0 && *delivered < 5 && k < 10000 && !stop.stop_requested(); ++k)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return i;
    }
  };
  const Slow slow;
  data::DataLoader free(slow, {.num_workers = 2, .prefetch_factor = 3, .ordered = false});
  std::vector<int64_t> seen;
  Value state;
  for (auto& batch : free) {
    seen.push_back(batch.item<int64_t>());
    ++*slow.delivered;
    if (seen.size() == 2) state = free.state_dict();
  }
  CHECK(seen.back() == 0);
  CHECK(std::set<int64_t>(seen.begin(), seen.end()).size() == 6);
  // Resuming delivers what was missing, though that is no tail of the order.
  CHECK(state["batch"].as_int() == 0);
  data::DataLoader again(slow, {.num_workers = 1});
  again.load_state_dict(state);
  std::vector<int64_t> rest;
  for (auto& batch : again) rest.push_back(batch.item<int64_t>());
  CHECK(rest.size() == 4);
  rest.insert(rest.end(), seen.begin(), seen.begin() + 2);
  std::sort(rest.begin(), rest.end());
  CHECK(rest == std::vector<int64_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("loader: workers record no history, are serial, and are told who they are") {
  struct Asks {
    int64_t size() const { return 8; }
    std::pair<int64_t, bool> get(int64_t) const {
      const data::WorkerInfo* info = data::get_worker_info();
      return {info ? info->id + 10 * info->num_workers : -1, !is_grad_enabled() && (in_parallel_region() || !info)};
    }
  };
  std::atomic<int> begun{0};
  data::DataLoader loader(Asks{}, {.num_workers = 2, .worker_init = [&](int) { ++begun; }, .persistent_workers = true});
  for (int epoch = 0; epoch < 2; ++epoch)
    for (auto [id, right] : loader) {
      CHECK((id.item<int64_t>() == 20 || id.item<int64_t>() == 21));
      CHECK(right.item<bool>());
    }
  CHECK(begun == 2);
  data::DataLoader here(Asks{});
  for (auto [id, right] : here) {
    CHECK(id.item<int64_t>() == -1);
    CHECK(right.item<bool>());
  }
  CHECK(is_grad_enabled());
}

TEST_CASE("loader: datasets that gather, collates and samples of many types") {
  const Tensor x = randn({10, 3}), y = arange(10);
  const data::TensorDataset both(x, y);
  data::DataLoader gathered(both, {.batch_size = 4, .shuffle = true, .num_workers = 2, .seed = 2});
  data::DataLoader single(data::MapDataset(both, [](const Tensor& a, const Tensor& b) { return std::tuple(a, b); }),
                          {.batch_size = 4, .shuffle = true, .seed = 2});
  CHECK(bytes_of_epochs(gathered, 2) == bytes_of_epochs(single, 2));

  struct Words {
    int64_t size() const { return 3; }
    std::vector<double> get(int64_t i) const { return std::vector<double>(static_cast<size_t>(i + 1), 1.0); }
  };
  data::DataLoader<Words, Tensor> padded(
      Words{}, {.batch_size = 3, .num_workers = 1, .collate = [](std::vector<std::vector<double>> samples) {
                  Tensor out = zeros({3, 3});
                  for (int64_t i = 0; i < 3; ++i)
                    out[i].narrow(0, 0, static_cast<int64_t>(samples[static_cast<size_t>(i)].size())).fill_(1);
                  return out;
                }});
  for (auto& batch : padded) CHECK(batch.sum().item<double>() == 6);
  data::DataLoader ragged(Words{}, {.batch_size = 3});
  CHECK(error_of([&] { ragged.begin(); }).find("must have one length; the first has 1 entries, number 1 has 2") !=
        std::string::npos);

  struct Inner {
    Tensor a;
    std::vector<Tensor> list;
  };
  struct Sample {
    Inner inner;
    Tensor b;
  };
  const Tensor one = ones({2}), two = full({2}, 2.0);
  const Sample batch = data::default_collate(std::vector<Sample>{{{one, {one, two}}, two}, {{two, {two, two}}, one}});
  CHECK(batch.inner.a.sizes() == Dims{2, 2});
  CHECK(batch.inner.list.size() == 2);
  CHECK(same_bits(batch.inner.list[0], stack({one, two})));
  CHECK(same_bits(batch.b, stack({two, one})));
  using Named = std::map<std::string, std::pair<int, std::string>>;
  const auto named = data::default_collate(std::vector<Named>{{{"x", {1, "p"}}}, {{"x", {2, "q"}}}});
  CHECK(named.at("x").first.equal(tensor(std::vector<int64_t>{1, 2}, {.device = "cpu"})));
  CHECK(named.at("x").second == std::vector<std::string>{"p", "q"});
  CHECK(data::default_collate(std::vector<float>{1.5f, 2}).dtype() == DType::f64);
  CHECK(data::default_collate(std::vector<bool>{true, false}).dtype() == DType::bool_);
  CHECK(error_of([&] {
          data::default_collate(std::vector<Named>{{{"x", {1, "p"}}}, {{"y", {2, "q"}}}});
        }).find("same keys") != std::string::npos);
  CHECK(error_of([&] {
          data::default_collate(std::vector<Tensor>{one, ones({3})});
        }).find(test::here("the first is [2] f32 cpu, number 1 is [3] f32 cpu")) != std::string::npos);
  CHECK(data::default_collate(std::vector<Tensor>{x.t(), x.t()}).sizes() == Dims{2, 3, 10});
}

TEST_CASE("loader: streams are read once, in order, by any number of workers") {
  struct Count {
    int64_t n, at = 0;
    std::optional<int64_t> next() { return at < n ? std::optional(at++) : std::nullopt; }
  };
  struct Skips : Count {
    void skip(int64_t k) { at += k; }
  };
  static_assert(data::IterableDataset<Skips>);
  const auto check = [](auto stream) {
    using Stream = decltype(stream);
    std::vector<std::string> expected;
    for (const int workers : {0, 1, 3}) {
      const auto make = [&] {
        return data::DataLoader<Stream>(stream, {.batch_size = 3, .num_workers = workers, .seed = 4});
      };
      auto loader = make();
      const auto seen = bytes_of_epochs(loader, 2);
      if (workers == 0) expected = seen;
      CHECK(seen.size() == 8);
      CHECK(seen == expected);
      for (size_t stop = 1; stop <= 4; ++stop) {
        auto first = make(), second = make();
        size_t k = 0;
        for ([[maybe_unused]] auto& batch : first)
          if (++k == stop) break;
        second.load_state_dict(first.state_dict());
        const auto rest = bytes_of_epochs(second, 2);
        CHECK(rest == std::vector<std::string>(expected.begin() + static_cast<int64_t>(stop), expected.end()));
      }
    }
  };
  check(data::ChainDataset(Count{4}, Count{6}));
  check(Skips{{10}});
  // What is mapped runs on all workers, with the random numbers of its sample.
  check(data::MapDataset(data::MapDataset(Count{10}, [](int64_t i) { return i + 1; }),
                         [](int64_t i) { return rand({2}).add_(i); }));
  data::DataLoader even(Count{10}, {.batch_size = 4, .num_workers = 2, .drop_last = true});
  CHECK(bytes_of_epochs(even, 1).size() == 2);
  CHECK(error_of([&] { even.size(); }).find("does not know") != std::string::npos);
  CHECK(error_of([] { data::DataLoader(Count{3}, {.shuffle = true}); }).find("an order of its own") !=
        std::string::npos);
}

TEST_CASE("loader: options that make no sense") {
  const auto refusal = [](data::DataLoader<Numbers>::Options o) {
    return error_of([&] { data::DataLoader<Numbers>(Numbers{4}, std::move(o)); });
  };
  CHECK(refusal({.batch_size = 0}).find("batch_size must be at least 1; got 0") != std::string::npos);
  CHECK(refusal({.num_workers = -1}).find("num_workers") != std::string::npos);
  CHECK(refusal({.shuffle = true, .sampler = data::SequentialSampler(4)}).find("exclude each other") !=
        std::string::npos);
  CHECK(refusal({.timeout = 1}).find("needs workers") != std::string::npos);
  CHECK(refusal({.persistent_workers = true}).find("needs workers") != std::string::npos);
  CHECK(refusal({.batch_size = 2, .batch_sampler = data::BatchSampler(data::SequentialSampler(4), 2)})
            .find("give it alone") != std::string::npos);
  CHECK(refusal({}).empty());
}
