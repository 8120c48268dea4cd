// What compiled functions make of numbers alone is kept from call to call, and made as before when a number changes.
#include <algorithm>
#include <atomic>
#include <thread>

#include "autograd/custom_op.h"
#include "compile/compile.h"
#include "core/allocator.h"
#include "tests/catch.h"
#include "tests/compile/no_gaps.h"
#include "tests/compile/twins.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;
using weft::test::Twins;

namespace {

constexpr CompileMode kModes[] = {CompileMode::default_, CompileMode::reduce_overhead, CompileMode::max_autotune};
const char* const kKept = "kept from call to call";

// How many ops the report names as kept.
int64_t kept_ops(const std::string& report) {
  const size_t at = report.find(kKept);
  if (at == std::string::npos) return 0;
  const std::string line = report.substr(at, report.find('\n', at) - at);
  return std::count(line.begin(), line.end(), ' ') - 6;  // of "from call to call, N bytes:"
}

// Calls of the compiled function have the eager one's bits, results stay, and so many ops are kept in the end.
template <class F>
void check_kept(const F& f, int64_t ops) {
  for (CompileMode mode : kModes) {
    auto fast = compile(f, {.mode = mode});
    std::vector<Tensor> results, expected;
    for (int i = 0; i < 8; ++i) {
      const Tensor x = randn({80, 80});
      manual_seed(i);
      results.push_back(fast(x));
      manual_seed(i);
      expected.push_back(f(x));
      for (size_t k = 0; k < results.size(); ++k) CHECK(same_bits(results[k], expected[k]));
    }
    const std::string report = fast.report();
    CAPTURE(report);
    CHECK((kNoGaps ? kept_ops(report) == ops : kept_ops(report) <= ops));
    CHECK(fast.stats().recorded == 1);
  }
}

float factor = 1;  // what an op of the program's own may read beside its inputs

}  // namespace

WEFT_REGISTER_OP(
    ScaledByGlobal, scaled_by_global, struct ScaledByGlobal
    : Pointwise<1> {
      static constexpr Dtypes dtypes = Dtypes::floating;
      static constexpr unsigned needs[1] = {0};
      template <class T>
      static T forward(T x) {
        return x * T(factor);
      }
      template <class T>
      static T backward(T g, T, T) {
        return g * T(factor);
      }
    });

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
    if (kNoGaps) CHECK_THAT(fast.report(), Contains(kKept));
    CHECK(fast.stats().recorded == 1);
    CHECK(fast.stats().at_once == 0);
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
    for (int i = 0; i < 60; ++i) {
      value = i / 6 * 0.25 - (i % 20 == 4 ? 1 : 0);
      diagonal = i / 17;
      const Tensor x = randn({200, 100});
      CHECK(same_bits(fast(x), f(x)));
    }
    CHECK(kept_ops(fast.report()) == 0);  // they changed too often
  }
}

TEST_CASE("a number that changes now and then does not end it") {
  double value = 0;
  const auto f = [&](const Tensor& x) { return x.matmul(full({80, 80}, value).cumsum(0)); };
  auto fast = compile(f);
  for (int i = 0; i < 1400; ++i) {
    value = i / 200;
    const Tensor x = randn({4, 80});
    CHECK(same_bits(fast(x), f(x)));
  }
  if (kNoGaps) CHECK(kept_ops(fast.report()) == 2);
}

TEST_CASE("numbers of each call cost no memory") {
  const auto f = [](const Tensor& x, double v) { return x.matmul(full({512, 512}, v).cumsum(0)); };
  auto fast = compile(f);
  const Tensor x = randn({4, 512});
  fast(x, 0.5);
  fast(x, 0.25);
  const int64_t before = memory_stats().allocated;
  for (int i = 0; i < 20; ++i) CHECK(same_bits(fast(x, i), f(x, i)));
  CHECK(memory_stats().allocated == before);
}

TEST_CASE("what was kept goes when its numbers do, and with the function") {
  const Tensor x = randn({512, 512});
  const int64_t before = memory_stats().allocated;
  constexpr int64_t kOne = 512 * 512 * 4;
  {
    const auto f = [](const Tensor& in, double v) {
      return full({512, 512}, v).cumsum(0).cumsum(1) + in.cumsum(0).sum({.dim = {0}});
    };
    auto fast = compile(f);
    for (int i = 0; i < 6; ++i) fast(x, 1.0);
    for (int i = 0; i < 20; ++i) fast(x, i);
    CHECK(memory_stats().allocated - before < kOne);
  }
  {
    double counter = 0;
    const auto f = [&](const Tensor& in, double v) { return in.matmul(full({512, 512}, v).cumsum(0)) + counter; };
    auto fast = compile(f, {.mode = CompileMode::reduce_overhead, .pure = true});
    for (int i = 0; i < 20 * 6; ++i) {
      counter = i;  // no call is ever replayed directly
      fast(x, i / 20);
    }
    CHECK(memory_stats().allocated - before < 3 * kOne);
  }
  CHECK(memory_stats().allocated == before);
}

TEST_CASE("so many bytes are kept in a process, no more") {
  const Tensor x = randn({2, 1024});
  const int64_t before = memory_stats().allocated;
  const auto f = [](const Tensor& in) { return in.matmul(ones({1024, 1024}).cumsum(0)); };
  {
    std::vector<decltype(compile(f))> all;
    for (int k = 0; k < 20; ++k) {  // 4 MB each
      all.push_back(compile(f));
      for (int i = 0; i < 5; ++i) CHECK(same_bits(all.back()(x), f(x)));
    }
    if (kNoGaps) CHECK(memory_stats().allocated - before >= int64_t{60} << 20);
    CHECK(memory_stats().allocated - before <= int64_t{65} << 20);
  }
  CHECK(memory_stats().allocated == before);
  auto again = compile(f);
  for (int i = 0; i < 5; ++i) again(x);
  if (kNoGaps) CHECK(kept_ops(again.report()) == 2);
}

TEST_CASE("only what is the same in every call is kept") {
  SECTION("written in two steps before it is read") {
    check_kept([](const Tensor& x) { return x.matmul(eye(80)) + eye(80).cumsum(0); }, 5);
  }
  SECTION("changed after it was read") {
    check_kept(
        [](const Tensor& x) {
          Tensor c = ones({80, 80}).cumsum(0);
          const Tensor y = x.matmul(c);
          c.mul_(2);
          return y + x.matmul(c);
        },
        1);  // what cumsum is given
  }
  SECTION("changed by what is not a number") {
    check_kept(
        [](const Tensor& x) {
          Tensor c = ones({80, 80}).cumsum(0);
          c.add_(x.sum());
          return x.matmul(c);
        },
        1);
  }
  SECTION("a result, and a view of one") {
    check_kept([](const Tensor&) { return ones({80, 80}).cumsum(0).cumsum(1); }, 2);
    check_kept([](const Tensor&) { return ones({80, 80}).cumsum(0).narrow(0, 3, 20); }, 1);
  }
  SECTION("random numbers") {
    check_kept([](const Tensor& x) { return x.matmul(rand({80, 80}).cumsum(0)); }, 0);
  }
  SECTION("next to random numbers") {
    check_kept([](const Tensor& x) { return x.matmul(rand({80, 80}) * ones({80, 80}).tril()); }, 2);
  }
  SECTION("memory that no op has written") {
    check_kept(
        [](const Tensor& x) {
          Tensor c = empty({80, 80});
          c.narrow(0, 0, 40).fill_(1);
          c.narrow(0, 40, 40).fill_(2);
          return x.matmul(c);
        },
        0);
  }
  SECTION("what is cheap to make where it is read") {
    check_kept([](const Tensor& x) { return (x * (arange(80).unsqueeze(0) - arange(80).unsqueeze(1)) + 1).tanh(); }, 0);
  }
  SECTION("what takes more to make than to read") {
    check_kept([](const Tensor& x) { return (x * full({80, 80}, 2.0).exp() + 1).tanh(); }, 2);
  }
}

TEST_CASE("ops of the program's own may read more than their inputs") {
  const auto f = [](const Tensor& x) { return x.matmul(scaled_by_global(ones({80, 80}).tril())); };
  for (CompileMode mode : {CompileMode::default_, CompileMode::max_autotune}) {
    auto fast = compile(f, {.mode = mode, .verify_every = 1});
    for (int i = 0; i < 8; ++i) {
      factor = static_cast<float>(i);
      const Tensor x = randn({80, 80});
      const Tensor y = fast(x);
      if (mode == CompileMode::default_) CHECK(same_bits(y, f(x)));
    }
    CHECK((kNoGaps ? kept_ops(fast.report()) == 2 : kept_ops(fast.report()) <= 2));
  }
  factor = 1;
}

TEST_CASE("constants in a training step, in several threads, and their memory") {
  manual_seed(3);
  struct Net : nn::Layer<Net> {
    nn::Linear in{*this, "in", 64, 64};
    Tensor forward(const Tensor& x) {
      return (in(x)*ones({64, 64}).tril()).softmax(-1).matmul(arange(64 * 64).to(DType::f32).view({64, 64}) * 1e-3);
    }
  };
  const Tensor x = randn({64, 64});
  Twins<Net> twins(x);
  auto fast = compile([&] { return twins.step(); });
  for (int i = 0; i < 6; ++i) CHECK(same_bits(fast(), twins.eager_step()));
  if (kNoGaps) CHECK_THAT(fast.report(), Contains(kKept));
  CHECK(twins.same_state());

  const auto f = [](const Tensor& in, double v) { return in.matmul(full({64, 64}, v).cumsum(0)); };
  const int64_t before = memory_stats().allocated;
  {
    auto shared = compile(f);
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 60; ++i) {
          const double v = (i / 20 + t) % 3;
          if (!same_bits(shared(x, v), f(x, v))) ++wrong;
        }
      });
    for (std::thread& t : threads) t.join();
    CHECK(wrong == 0);
  }
  CHECK(memory_stats().allocated == before);
}
