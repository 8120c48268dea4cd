#include <atomic>
#include <thread>

#include "autograd/autograd.h"
#include "compile/compile.h"
#include "core/allocator.h"
#include "core/error.h"
#include "tests/catch.h"
#include "tests/compile/no_gaps.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

constexpr CompileMode kModes[] = {CompileMode::default_, CompileMode::reduce_overhead, CompileMode::max_autotune,
                                  CompileMode::max_autotune_no_cudagraphs};
CompileOptions direct(bool pure = false) {
  return {.mode = CompileMode::reduce_overhead, .on_fallback = OnFallback::silent, .pure = pure};
}

std::atomic<int> runs{0};

Tensor head(const Tensor& x, const Tensor& w, const Tensor& b) {
  ++runs;
  return softmax(gelu(x.matmul(w) + b) * 0.5 - 1, -1).t();
}

// Leaves other bytes on the stack than the last time.
[[gnu::noinline]] void spoil_stack() {
  static unsigned char with = 0;
  volatile unsigned char bytes[16384];
  for (volatile unsigned char& b : bytes) b = with;
  ++with;
}

struct Net : nn::Layer<Net> {
  nn::Linear up{*this, "up", 6, 8};
  nn::BatchNorm1d norm{*this, "norm", 8};
  nn::Dropout drop{*this, "drop", 0.5};
  double scale = 1;
  Tensor forward(const Tensor& x) { return drop(relu(norm(up(x)))) * scale; }
};

}  // namespace

TEST_CASE("after three calls that agree the function's code is not run") {
  manual_seed(1);
  auto fast = compile(head, direct());
  runs = 0;
  std::vector<Tensor> held, expected;
  for (int i = 0; i < 100; ++i) {
    const Tensor x = randn({5, 7}), w = randn({7, 9}), b = randn({9});
    held.push_back(fast(x, w, b));
    const int now = runs;
    expected.push_back(head(x, w, b));
    runs = now;
  }
  CHECK(runs == 4);  // one recorded, three matched
  CHECK(fast.stats().direct == 96);
  CHECK(fast.stats().calls == 100);
  CHECK(fast.stats().matched_because.empty());
  CHECK_THAT(fast.report(), Contains("96 calls replayed directly"));
  // A result that is held keeps its values.
  for (size_t i = 0; i < held.size(); ++i) {
    CAPTURE(i);
    CHECK(same_bits(held[i], expected[i]));
    CHECK(held[i].strides() == expected[i].strides());
  }
  CHECK(compile(head)(randn({2, 3}), randn({3, 4}), randn({4})).sizes() == Dims{4, 2});
}

TEST_CASE("other shapes, dtypes, numbers and switches of the thread are learnt on their own") {
  auto f = [](const Tensor& x, double factor, Scalar shift, bool twice) {
    ++runs;
    Tensor y = x * factor + shift;
    return twice ? std::pair(y.exp(), y * 2) : std::pair(y, y - 1);
  };
  auto fast = compile(f, direct());
  for (int round = 0; round < 8; ++round)
    for (int64_t n : {4, 9})
      for (DType dtype : {DType::f32, DType::f64})
        for (double factor : {1.5, -2.0})
          for (bool twice : {false, true}) {
            const Tensor x = randn({n, 2}, {.dtype = dtype});
            runs = 0;
            const auto [a, b] = fast(x, factor, 3, twice);
            CAPTURE(round, n, factor, twice);
            if (round < 3 || round > 3) CHECK((runs == 0) == (round > 3));  // some begin with another's recording
            const auto [c, d] = f(x, factor, 3, twice);
            CHECK(same_bits(a, c));
            CHECK(same_bits(b, d));
          }
  auto product = [](const Tensor& a, const Tensor& b) { return a.matmul(b) + 1; };
  auto quick = compile(product, direct());
  const Tensor a = randn({8, 8}), b = randn({8, 8});
  for (int i = 0; i < 12; ++i) {
    const Autocast cast(Device(), DType::bf16, {.enabled = i % 2 == 1});
    CHECK(same_bits(quick(a, b), product(a, b)));
  }
  CHECK(quick.stats().direct == 4);
}

TEST_CASE("memory: arguments that are one, results in place, views, what is written") {
  auto f = [](Tensor x, const Tensor& y) {
    x.mul_(0.5).add_(y);
    Tensor z = x.narrow(0, 1, 2) * y.narrow(0, 0, 2);
    return std::vector<Tensor>{z, x, z.select(0, 1).exp(), z, Tensor()};
  };
  auto fast = compile(f, direct());
  Tensor a = randn({4, 3}), b = a.clone();
  for (int i = 0; i < 10; ++i) {
    const bool one = i % 5 == 4;
    const Tensor y = randn({4, 3});
    const auto eager = f(a, one ? a : y), got = fast(b, one ? b : y);
    for (size_t k = 0; k < 4; ++k) CHECK(same_bits(eager[k], got[k]));
    CHECK(same_bits(a, b));
    CHECK(got[1].is_same(b));
    CHECK(got[3].is_same(got[0]));
    CHECK_FALSE(got[4].defined());
  }
  CHECK(fast.stats().direct == 4);
  // Autograd sees what a replayed call writes.
  Tensor w = randn({4, 3}, {.requires_grad = true});
  const Tensor product = w * b;
  fast(b, randn({4, 3}));
  CHECK_THROWS_WITH(product.sum().backward(), Contains("a compiled function has changed it in place"));
  std::vector<float> memory(24, 1.0f);
  Tensor p = from_blob(memory.data(), {4, 3}), q = from_blob(memory.data() + 6, {4, 3});
  std::vector<float> copy = memory;
  Tensor r = from_blob(copy.data(), {4, 3}), s = from_blob(copy.data() + 6, {4, 3});
  for (int i = 0; i < 8; ++i) CHECK(same_bits(fast(p, q)[0], f(r, s)[0]));
  CHECK(memory == copy);
}

TEST_CASE("each call is right in every mode, whatever the function does") {
  for (CompileMode mode : kModes) {
    CAPTURE(static_cast<int>(mode));
    const CompileOptions o{.mode = mode, .on_fallback = OnFallback::silent};
    double scale = 1;
    int n = 0;
    Tensor w = ones({8});
    auto captures = [&](const Tensor& x) {
      Tensor y = x * scale + w;
      if (n++ % 2) y = y.exp() - 1;
      return y * 3;
    };
    auto fast = compile(captures, o);
    int seen = 0;
    for (int i = 0; i < 12; ++i) {
      if (i > 6) scale = i;
      if (i == 9) w = randn({8});
      const Tensor x = randn({i < 4 ? 8 : 1, 8});
      n = i;
      const Tensor eager = captures(x);
      n = seen;
      CHECK(same_bits(eager, fast(x)));
      seen = n;
    }
    CHECK(seen == 12);  // its code ran in each call
    const bool replays = mode == CompileMode::reduce_overhead || mode == CompileMode::max_autotune;
    CHECK(fast.stats().matched_because.size() == size_t{replays});
    if (replays) CHECK_THAT(fast.report(), Contains("no direct replay: it captures variables"));

    auto reads = [](const Tensor& x) { return x.sum().item<double>() > 0 ? x * 2 : x - 1; };
    auto prints = [](const Tensor& x) { return x * static_cast<double>(x.abs().str().size()); };
    auto fills = [](const Tensor& x) { return x * tensor(std::vector<float>{1, 2}); };
    for (Tensor (*f)(const Tensor&) : {+reads, +prints, +fills}) {
      auto quick = compile(f, o);
      for (int i = 0; i < 10; ++i) {
        const Tensor x = full({2}, i % 3 - 1.0);
        CHECK(same_bits(f(x), quick(x)));
      }
      if (replays) CHECK_THAT(quick.report(), Contains("no direct replay: the host reads or fills memory"));
    }
  }
}

TEST_CASE("what keeps calls matched is named") {
  static Tensor global = randn({3});
  const auto reason = [](auto f, auto... arguments) {
    auto fast = compile(f, direct());
    for (int i = 0; i < 20; ++i) fast(arguments...);
    CHECK(fast.stats().direct == 0);
    return fast.report();
  };
  const Tensor x = randn({3}), leaf = randn({3}, {.requires_grad = true});
  Net net;
  CHECK_THAT(reason([](const Tensor& t) { return t * global; }, x),
             Contains("no argument (.pure declares such): step 0, mul"));
  CHECK_THAT(reason([](const Tensor& t) { return t + rand({3}); }, x), Contains("random numbers are drawn"));
  CHECK_THAT(reason([](const Tensor& t) { return dropout(t, 0.5); }, x),
             Contains("random numbers are drawn: step 0, dropout"));
  CHECK_THAT(reason([](const Tensor& t) { return t * 2; }, leaf), Contains("result 0 has a history"));
  CHECK_THAT(reason([](const Tensor& t) { (t * 2).sum().backward(); }, leaf), Contains("gradient"));
  CHECK_THAT(reason([](const Tensor& t) { return t.view({3, 1}); }, x), Contains("no kernel of it waits"));
  CHECK_THAT(reason(
                 [](const Tensor& t) {
                   return std::pair((t * 2).sum(), t.view({3, 1}));
                 },
                 x),
             Contains("not made by a recorded op"));
  CHECK_THAT(reason([](const Tensor& t, const std::string&) { return t * 2; }, x, std::string("a")),
             Contains("argument 1 is of a type that cannot be compared"));
  CHECK_THAT(reason([](const Tensor& t) { return std::vector<double>{static_cast<double>(t.dim())}; }, x),
             Contains("may hold more than Tensors"));
  CHECK_THAT(reason([](Net& m, const Tensor& t) { return m.up(t).detach(); }, net, randn({2, 6})),
             Contains("argument 0 is a module"));
  auto module = compile(net, direct());
  CHECK_THAT(module.report(), Contains("it is a module"));
  // An argument that the function assigns to.
  auto assigns = compile([](Tensor& t) { t = t * 2; }, direct());
  Tensor y = ones({2});
  for (int i = 0; i < 10; ++i) assigns(y);
  CHECK(y.select(0, 0).item<double>() == 1024);
  CHECK_THAT(assigns.report(), Contains("argument 0 is assigned to"));
  // Numbers that are never the same.
  auto steps = compile([](const Tensor& t, int64_t step) { return t * static_cast<double>(step); }, direct());
  for (int i = 0; i < 100; ++i) CHECK(same_bits(steps(x, i), x * i));
  CHECK_THAT(steps.report(), Contains("never twice alike"));
  CHECK_THROWS_WITH(compile(head, {.verify_every = -1}), Contains("verify_every"));
}

TEST_CASE("what lies between the members of attributes is not compared") {
  const Tensor table = randn({9, 4}), places = tensor(std::vector<int64_t>{1, 3, 8});
  auto f = [&](const Tensor& x) {
    spoil_stack();
    const Tensor rows = embedding(places, table);
    spoil_stack();
    const Tensor pooled = max_pool1d(rows.unsqueeze(0), 2);
    spoil_stack();
    return pooled.sum() + arange(0.5, 6, 1.5).sum() + x;
  };
  auto fast = compile(
      f, {.mode = CompileMode::reduce_overhead, .on_fallback = OnFallback::silent, .verify_every = 3, .pure = true});
  const Tensor x = randn({16});
  for (int i = 0; i < 60; ++i) CHECK(same_bits(fast(x), f(x)));
  CAPTURE(fast.report());
  if (kNoGaps) CHECK(fast.stats().direct >= 40);
}

TEST_CASE("a promise that is broken is found and reported") {
  double scale = 2;
  auto f = [&](const Tensor& x) { return x * scale + 1; };
  const Tensor x = randn({16});
  for (OnFallback policy : {OnFallback::silent, OnFallback::error}) {
    scale = 2;
    auto fast =
        compile(f, {.mode = CompileMode::reduce_overhead, .on_fallback = policy, .verify_every = 10, .pure = true});
    for (int i = 0; i < 40; ++i) CHECK(same_bits(fast(x), f(x)));
    CHECK(fast.stats().direct == 33);
    CHECK(fast.stats().verified == 3);
    scale = 3;
    std::string error;
    for (int i = 0; i < 20; ++i) try {
        const Tensor y = fast(x);
        if (i > 10) CHECK(same_bits(y, f(x)));
      } catch (const CompileError& e) {
        error = e.what();
      }
    CHECK_THAT(
        fast.report(),
        Contains("results since the last comparison may be wrong: numbers change from call to call: step 0, mul"));
    CHECK((policy == OnFallback::error) == !error.empty());
    CHECK(fast.stats().direct < 45);
  }
}

TEST_CASE("captured tensors: given up, assigned to, and arguments at the same time") {
  Tensor w = randn({8});
  auto f = [&](const Tensor& x) { return (x + w) * x; };
  auto fast = compile(f, direct(true));
  const auto agree = [&](const Tensor& x) { CHECK(same_bits(fast(x), f(x))); };
  for (int i = 0; i < 10; ++i) agree(w);  // captured and argument are one
  CHECK(fast.stats().direct == 6);
  for (int i = 0; i < 10; ++i) agree(randn({8}));
  CHECK(fast.stats().direct > 8);
  agree(w);
  w.mul_(3);  // its contents are read in each call
  for (int i = 0; i < 3; ++i) agree(randn({8}));
  w = randn({8});
  for (int i = 0; i < 10; ++i) agree(randn({8}));
  CHECK_THAT(fast.report(), Contains("given up or assigned to"));
  const int64_t before = fast.stats().direct;
  agree(randn({8}));
  CHECK(fast.stats().direct == before + 1);
}

TEST_CASE("modules that promise: training, frozen, numbers and parts are compared in each call") {
  manual_seed(4);
  Net net;
  nn::Linear other(6, 8);
  auto fast = compile(net, direct(true));
  NoGrad guard;
  const auto agree = [&](int64_t rows) {
    const Tensor x = randn({rows, 6});
    const auto random = default_generator().get_state();
    Net twin = clone(net);
    const Tensor eager = twin(x);
    default_generator().set_state(random);
    CHECK(same_bits(fast(x), eager));
    CHECK(same_bits(net.norm.running_mean, twin.norm.running_mean));
  };
  for (int i = 0; i < 6; ++i) agree(3);
  CHECK(fast.stats().direct == 0);  // dropout draws
  net.eval();
  for (int i = 0; i < 6; ++i) agree(3);
  if (kNoGaps) CHECK(fast.stats().direct == 2);
  for (int i = 0; i < 6; ++i) agree(5);
  net.train();
  agree(3);
  net.eval();
  agree(3);
  if (kNoGaps) CHECK(fast.stats().direct == 5);
  net.scale = 2;
  for (int i = 0; i < 6; ++i) agree(3);
  net.requires_grad_(false);
  for (int i = 0; i < 6; ++i) agree(3);
  net.up = other;
  for (int i = 0; i < 6; ++i) agree(3);
  net.to(DType::f64);
  CHECK(same_bits(fast(ones({2, 6}, {.dtype = DType::f64})), net(ones({2, 6}, {.dtype = DType::f64}))));
  CHECK_THAT(fast.report(), Contains("random numbers are drawn"));
}

TEST_CASE("errors of a replayed call, memory and threads") {
  auto f = [](const Tensor& x, const Tensor& index) {
    Tensor y = x * 2;
    for (int i = 0; i < 50; ++i) y = (y.matmul(x) * 0.1).relu() + i;
    return y.index_select(0, index);
  };
  auto fast = compile(f, direct());
  const Tensor x = randn({64, 64}), good = tensor(std::vector<int64_t>{4, 0}),
               bad = tensor(std::vector<int64_t>{4, 99});
  const Tensor expected = f(x, good);
  for (int i = 0; i < 6; ++i) CHECK(same_bits(fast(x, good), expected));
  const int64_t before = memory_stats().allocated;
  reset_peak_memory_stats();
  f(x, good);
  const int64_t eager = memory_stats().peak_allocated - before;
  CHECK_THROWS_WITH(fast(x, bad), Contains("99"));
  reset_peak_memory_stats();
  CHECK(same_bits(fast(x, good), expected));
  CHECK(memory_stats().allocated == before);
  if (kNoGaps) {
    CHECK(fast.stats().direct == 3);
    CHECK(static_cast<double>(memory_stats().peak_allocated - before) <= 0.9 * static_cast<double>(eager));
  }
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const Tensor y = full({8 + t % 2, 8 + t % 2}, 0.1 * i + t);
        if (!same_bits(fast(y, good), f(y, good))) ++wrong;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("threads that begin at once keep their promise together") {
  const Tensor x = randn({8, 8}), expected = (x * 2 + 1).exp();
  std::atomic<int> wrong{0};
  for (int turn = 0; turn < 10; ++turn) {
    auto fast = compile([](const Tensor& t) { return (t * 2 + 1).exp(); },
                        {.mode = CompileMode::reduce_overhead, .on_fallback = OnFallback::error, .verify_every = 7});
    std::vector<std::thread> threads;
    std::atomic<int> waiting{4};
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        --waiting;
        while (waiting) std::this_thread::yield();
        try {
          for (int k = 0; k < 40; ++k)
            if (!same_bits(fast(x), expected)) ++wrong;
        } catch (const Error&) {
          ++wrong;
        }
      });
    for (std::thread& t : threads) t.join();
  }
  CHECK(wrong == 0);
}
