// What compiled functions make of numbers alone is kept from call to call, and made anew when a number has changed.
#include <atomic>
#include <thread>

#include "compile/compile.h"
#include "core/allocator.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

constexpr CompileMode kModes[] = {CompileMode::default_, CompileMode::reduce_overhead, CompileMode::max_autotune};
const char* const kKept = "kept from call to call";

}  // namespace

TEST_CASE("a mask is made once") {
  const auto f = [](const Tensor& x) {
    const int64_t n = x.size(-1);
    const Tensor mask = ones({n, n}).tril(), far = (arange(n).unsqueeze(0) - arange(n).unsqueeze(1)).abs();
    return (x - far * 0.1).masked_fill(mask.eq(0), -INFINITY).softmax(-1).matmul(x);
  };
  for (CompileMode mode : kModes) {
    auto fast = compile(f, {.mode = mode});
    for (int i = 0; i < 8; ++i) {
      const Tensor x = randn({3, 96, 96});
      CHECK(same_bits(fast(x), f(x)));
    }
    CHECK_THAT(fast.report(), Contains(kKept));
    CHECK(fast.stats().recorded == 1);
    const Tensor other = randn({2, 40, 40});
    CHECK(same_bits(fast(other), f(other)));
  }
}

TEST_CASE("numbers that change are seen") {
  double value = 0;
  int64_t diagonal = 0;
  const auto f = [&](const Tensor& x) {
    return x * full({200, 100}, value).exp().triu(diagonal) + linspace(0, value, 100).cumsum(0);
  };
  for (CompileMode mode : kModes) {
    auto fast = compile(f, {.mode = mode});
    for (int i = 0; i < 24; ++i) {
      value = i / 3 * 0.25 - (i % 5 == 4 ? 1 : 0);
      diagonal = i / 7;
      const Tensor x = randn({200, 100});
      CHECK(same_bits(fast(x), f(x)));
    }
  }
}

TEST_CASE("only what is the same in every call is kept") {
  const auto check = [](const auto& f, int kept) {  // so many kernels
    for (CompileMode mode : kModes) {
      auto fast = compile(f, {.mode = mode});
      std::vector<Tensor> results, expected;
      for (int i = 0; i < 6; ++i) {
        const Tensor x = randn({80, 80});
        manual_seed(i);
        results.push_back(fast(x));
        manual_seed(i);
        expected.push_back(f(x));
        for (size_t k = 0; k < results.size(); ++k) CHECK(same_bits(results[k], expected[k]));
      }
      const std::string report = fast.report();
      CAPTURE(report);
      int found = 0;
      for (size_t at = report.find(kKept); at != std::string::npos; at = report.find(kKept, at + 1)) ++found;
      CHECK(found == kept);
    }
  };
  SECTION("written in two steps before it is read") {
    check([](const Tensor& x) { return x.matmul(eye(80)) + eye(80).cumsum(0); }, 5);
  }
  SECTION("changed after it was read") {
    check(
        [](const Tensor& x) {
          Tensor c = ones({80, 80}).cumsum(0);
          const Tensor y = x.matmul(c);
          c.mul_(2);
          return y + x.matmul(c);
        },
        1);  // what cumsum is given
  }
  SECTION("changed by what is not a number") {
    check(
        [](const Tensor& x) {
          Tensor c = ones({80, 80}).cumsum(0);
          c.add_(x.sum());
          return x.matmul(c);
        },
        1);
  }
  SECTION("a result, and a view of one") {
    check([](const Tensor&) { return ones({80, 80}).cumsum(0).cumsum(1); }, 2);
    check([](const Tensor&) { return ones({80, 80}).cumsum(0).narrow(0, 3, 20); }, 1);
  }
  SECTION("random numbers") {
    check([](const Tensor& x) { return x.matmul(rand({80, 80}).cumsum(0)); }, 0);
  }
  SECTION("next to random numbers") {
    check([](const Tensor& x) { return x.matmul(rand({80, 80}) * ones({80, 80}).tril()); }, 2);
  }
}

TEST_CASE("constants in a training step, in several threads, and their memory") {
  manual_seed(3);
  struct Net : nn::Layer<Net> {
    nn::Linear in{*this, "in", 64, 64};
    Tensor forward(const Tensor& x) {
      return (in(x)*ones({64, 64}).tril()).softmax(-1).matmul(arange(64 * 64).to(DType::f32).view({64, 64}) * 1e-3);
    }
  };
  Net net, twin;
  twin.load_state_dict(net.state_dict());
  optim::SGD own(net.parameters(), {.lr = 1e-2}), other(twin.parameters(), {.lr = 1e-2});
  const Tensor x = randn({64, 64});
  const auto step = [&](Net& m, optim::Optimizer& o) {
    o.zero_grad();
    Tensor loss = m(x).square().mean();
    loss.backward();
    o.step();
    return loss.detach();
  };
  auto fast = compile([&] { return step(net, own); });
  for (int i = 0; i < 6; ++i) CHECK(same_bits(fast(), step(twin, other)));
  CHECK_THAT(fast.report(), Contains(kKept));
  for (const auto& [name, p] : net.state_dict()) CHECK(same_bits(p, twin.state_dict().find(name)->detach()));

  const auto f = [](const Tensor& in, double v) { return in.matmul(full({64, 64}, v).cumsum(0)); };
  const int64_t before = memory_stats().allocated;
  {
    auto shared = compile(f);
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 30; ++i) {
          const double v = (i / 4 + t) % 3;
          if (!same_bits(shared(x, v), f(x, v))) ++wrong;
        }
      });
    for (std::thread& t : threads) t.join();
    CHECK(wrong == 0);
  }
  CHECK(memory_stats().allocated == before);
}
