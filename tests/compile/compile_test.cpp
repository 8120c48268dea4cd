#include "compile/compile.h"

#include <functional>
#include <thread>

#include "autograd/autograd.h"
#include "autograd/custom_op.h"
#include "core/allocator.h"
#include "core/error.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

// clang-format off
WEFT_REGISTER_OP(Swirl, swirl,
struct Swirl : Pointwise<2, 1> {
  static constexpr const char* schema = "a, b, alpha=1.0";
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kA | kB, kA};
  template <class T> WEFT_FN static T forward(T a, T b, T alpha) { return a * sin(alpha * a) + b * exp(a); }
  template <class T> WEFT_FN static T backward_a(T g, T a, T b, T, T alpha) { return g * (sin(alpha * a) + a * alpha * cos(alpha * a) + b * exp(a)); }
  template <class T> WEFT_FN static T backward_b(T g, T a, T, T, T) { return g * exp(a); }
});
// clang-format on

namespace {

bool same_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!same_bits(a[i], b[i])) return false;
  return true;
}

struct Net : nn::Layer<Net> {
  nn::Linear up{*this, "up", 12, 40};
  nn::LayerNorm norm{*this, "norm", 40};
  nn::Dropout drop{*this, "drop", 0.25};
  nn::Linear down{*this, "down", 40, 5};
  Tensor forward(const Tensor& x) { return down(drop(gelu(norm(up(x))))); }
};

enum class Optimizer { sgd, adamw };

// Losses and parameters of 100 steps, the step compiled or not.
std::vector<Tensor> train(Optimizer kind, int accumulate, bool compiled, CompileStats* stats = nullptr) {
  manual_seed(7);
  Net net;
  std::unique_ptr<optim::Optimizer> optimizer;
  if (kind == Optimizer::sgd)
    optimizer = std::make_unique<optim::SGD>(net.parameters(), optim::SGDOptions{.lr = 0.05, .momentum = 0.9});
  else
    optimizer = std::make_unique<optim::AdamW>(net.parameters(), optim::AdamWOptions{.lr = 1e-2});
  const Tensor xs = randn({8, 16, 12}), ys = randint(0, 5, {8, 16});
  auto step = [&](int64_t at) {
    optimizer->zero_grad();
    Tensor total = zeros({});
    for (int64_t k = 0; k < accumulate; ++k) {
      Tensor loss = cross_entropy(net(xs.select(0, (at + k) % 8)), ys.select(0, (at + k) % 8)) / accumulate;
      loss.backward();
      total = total + loss.detach();
    }
    nn::utils::clip_grad_norm_(net.parameters(), 1.0);
    optimizer->step();
    return total;
  };
  auto fast = compile(step);
  std::vector<Tensor> out;
  for (int64_t i = 0; i < 100; ++i) out.push_back(compiled ? fast(i) : step(i));
  for (const Tensor& p : net.parameters()) out.push_back(p);
  if (stats) *stats = fast.stats();
  return out;
}

}  // namespace

TEST_CASE("the report says why an op runs alone") {
  auto fast = compile([](const Tensor& x) {
    const Tensor a = x * 2 + 1;                         // fused
    const Tensor b = (a.matmul(x).t() + x).softmax(0);  // its operands cross
    return b.sum({.dim = {0}}).exp();                   // nothing beside it
  });
  const Tensor x = randn({30, 30});
  for (int i = 0; i < 3; ++i) fast(x);
  const std::string report = fast.report();
  CAPTURE(report);
  CHECK_THAT(report, Contains("fused: mul add") && Contains("exp  [30]"));
  CHECK_THAT(report, Contains(", alone: no op beside it goes over the same elements"));
}

TEST_CASE("compiled training has the bits of eager training") {
  for (Optimizer kind : {Optimizer::sgd, Optimizer::adamw})
    for (int accumulate : {1, 4}) {
      CAPTURE(static_cast<int>(kind), accumulate);
      CompileStats stats;
      const auto eager = train(kind, accumulate, false), fast = train(kind, accumulate, true, &stats);
      CHECK(same_bits(eager, fast));
      CHECK(stats.calls == 100);
      CHECK(stats.breaks.empty());
      // The first step makes the optimizer's state; rows of the batch at eight offsets share what follows.
      CHECK(stats.recorded + stats.matched + stats.at_once == 100);
      CHECK(stats.recorded <= 9);
    }
}

TEST_CASE("pointwise chains, broadcasts, views, in-place ops and dtypes") {
  manual_seed(3);
  const Tensor row = randn({33}), column = randn({17, 1}), other = randn({33, 17});
  auto f = [&](const Tensor& x) {
    Tensor a = (x * 2 + row).tanh() * column - 0.5;
    a.mul_(1.25).add_(other.t());
    Tensor b = a.to(DType::bf16) * 3 + 1;
    Tensor part = a.narrow(1, 3, 20);
    part.sub_(part.exp() * 0.01);
    Tensor mask = a.gt(0).logical_and(x.lt(1));
    Tensor c = where(mask, a, b) / (1 + x.abs());
    a.select(0, 2).zero_();
    return std::vector<Tensor>{a, b, c, c.sum({.dim = 1}), a.t().contiguous() * 2, mask};
  };
  auto fast = compile(f);
  for (int i = 0; i < 4; ++i) {
    const Tensor x = randn({17, 33});
    CHECK(same_bits(f(x), fast(x)));
  }
  CHECK(fast.stats().recorded == 1);
  CHECK(fast.stats().matched == 3);
  CHECK_THAT(fast.report(), Contains("fused:") && Contains("tanh"));
  CHECK_THAT(fast.dot(), Contains("digraph") && Contains("tanh"));
}

TEST_CASE("what the function captures may change between calls") {
  double scale = 1;
  int n = 0;
  Tensor w = ones({8});
  auto f = [&](const Tensor& x) {
    Tensor y = x * scale + w;
    if (n++ % 2) y = y.exp() - 1;
    return y * 3;
  };
  auto fast = compile(f);
  for (int i = 0; i < 8; ++i) {
    scale = i * 0.5;
    if (i % 3 == 0) w = randn({8});
    const Tensor x = randn({8});
    const int before = n;
    const Tensor eager = f(x);
    n = before;
    CHECK(same_bits(eager, fast(x)));
  }
  CHECK(fast.stats().recorded == 2);
  CHECK_THAT(fast.report(), Contains("exp: recorded mul"));
}

TEST_CASE("values read in the middle, printing, addresses that the host keeps") {
  auto f = [](const Tensor& x) {
    Tensor y = x * 2 + 1;
    if (y.sum().item<double>() > 0) y = y - 5;
    const std::string text = y.str();
    y = y * static_cast<double>(text.size());
    float* p = y.data<float>();
    y.add_(1);
    p[0] = p[1] + 1;  // sees the sum, and what follows sees this
    return y * 2;
  };
  auto fast = compile(f, {.on_fallback = OnFallback::silent});
  for (int i = 0; i < 3; ++i) {
    const Tensor x = randn({6});
    CHECK(same_bits(f(x), fast(x)));
  }
  CHECK(fast.stats().breaks.size() >= 2);
  CHECK_THAT(fast.report(), Contains("in the middle after"));
}

TEST_CASE("functions with nothing to fuse soon run at once, and wait again when they change") {
  const Tensor w = randn({8, 8}), x = randn({300, 8});
  bool chain = false;
  auto f = [&](const Tensor& in) {
    Tensor y = in.matmul(w);
    return chain ? ((y * 2 + 1).tanh() * 3 - y).sigmoid() : y;
  };
  auto fast = compile(f);
  for (int i = 0; i < 100; ++i) CHECK(same_bits(fast(x), f(x)));
  CompileStats stats = fast.stats();
  CHECK(stats.at_once > 90);
  CHECK(stats.at_once + stats.recorded + stats.matched == 100);
  CHECK_THAT(fast.report(), Contains("did not wait"));
  chain = true;
  for (int i = 0; i < 200; ++i) CHECK(same_bits(fast(x), f(x)));
  CHECK(fast.stats().at_once < stats.at_once + 64);
  CHECK(fast.stats().matched > stats.matched + 100);
}

TEST_CASE("a cut is an error where asked for, with what came before done") {
  Tensor sum = zeros({3});
  auto fast = compile(
      [&](const Tensor& x) {
        sum.add_(x);
        return (x * 2).sum().item<double>();
      },
      {.on_fallback = OnFallback::error});
  CHECK_THROWS_WITH(fast(ones({3})), Contains("cut in parts after") && Contains("on_fallback"));
  CHECK(same_bits(sum, ones({3})));
  CHECK_THROWS_AS(fast(ones({3})), CompileError);
  auto whole = compile([](const Tensor& x) { return x * 2 + 1; }, {.on_fallback = OnFallback::error});
  CHECK(same_bits(whole(ones({3})), full({3}, 3.0)));
}

TEST_CASE("fast numerics keep f32 inside of a kernel") {
  const auto f = [](const Tensor& x) { return (x * 1.001 + 0.3).exp() * 0.7 - x; };
  auto fast = compile(f, {.numerics = Numerics::fast}), match = compile(f);
  const Tensor x = rand({5000}), low = x.to(DType::bf16);
  const auto error = [&](const Tensor& y) {
    return (y.to(DType::f32) - f(low.to(DType::f32))).abs().mean().item<double>();
  };
  CHECK(same_bits(match(low), f(low)));
  fast(low);  // recorded, kernel by kernel
  CHECK(error(fast(low)) < 0.7 * error(f(low)));
  CHECK(same_bits(fast(x), f(x)));
  CHECK(fast(low).dtype() == DType::bf16);
}

TEST_CASE("other batch sizes, frozen parameters, train and eval") {
  manual_seed(1);
  Net net, twin;
  twin.load_state_dict(net.state_dict());
  auto run = [](Net& m, const Tensor& x) {
    m.zero_grad();
    Tensor loss = m(x).square().mean();
    loss.backward();
    std::vector<Tensor> out{loss.detach()};
    for (const Tensor& p : m.parameters())
      if (p.grad().defined()) out.push_back(p.grad());
    return out;
  };
  auto fast = compile(run);
  const auto both = [&](int64_t batch) {
    const Tensor x = randn({batch, 12});
    manual_seed(11);
    const auto eager = run(twin, x);
    manual_seed(11);
    return same_bits(eager, fast(net, x));
  };
  CHECK(both(4));
  CHECK(both(9));
  CHECK(both(4));
  for (Net* m : {&net, &twin}) m->up.requires_grad_(false);
  CHECK(both(4));
  for (Net* m : {&net, &twin}) m->eval();
  CHECK(both(4));
  for (Net* m : {&net, &twin}) m->train();
  CHECK(both(9));
  const CompileStats stats = fast.stats();
  CHECK(stats.recorded <= 6);
  CHECK_THAT(fast.report(), Contains("[9, ") && Contains("recorded"));
}

TEST_CASE("held outputs keep their values") {
  auto f = [](const Tensor& x) { return std::vector<Tensor>{x.exp() * 2, x.reshape({-1}) + 1, x}; };
  auto fast = compile(f);
  std::vector<std::vector<Tensor>> held, want;
  for (int i = 0; i < 100; ++i) {
    const Tensor x = full({40, 400}, i * 0.01);
    held.push_back(fast(x));
    want.push_back(f(x));
  }
  for (size_t i = 0; i < held.size(); ++i) CHECK(same_bits(held[i], want[i]));
  auto g = compile([](const Tensor& x) { return x * 1.5 + 1; });
  Tensor x = ones({5000});
  for (int i = 0; i < 10; ++i) x = g(x);
  Tensor y = ones({5000});
  for (int i = 0; i < 10; ++i) y = y * 1.5 + 1;
  CHECK(same_bits(x, y));
}

TEST_CASE("a thousand steps of a schedule are one compilation") {
  Tensor w = ones({50});
  auto step = compile([&](double lr, double scale) {
    Tensor x = (w * scale).detach().set_requires_grad(true);
    Tensor loss = (x * x / scale).sum();
    loss.backward();
    w.sub_(x.grad() * lr);
    return loss.detach();
  });
  for (int i = 0; i < 1000; ++i) step(0.001 * std::cos(i * 0.003), i % 100 == 0 ? 2048.0 : 1024.0 + i);
  CHECK(step.stats().recorded == 1);
}

TEST_CASE("errors come out once and spoil nothing") {
  auto f = [](const Tensor& x, const Tensor& index, bool raise) {
    Tensor y = x * 2;
    Tensor z = y.index_select(0, index) + 1;
    if (raise) throw std::runtime_error("stop");
    return z;
  };
  auto fast = compile(f);
  const Tensor x = randn({5, 3}), good = tensor(std::vector<int64_t>{4, 0}), bad = tensor(std::vector<int64_t>{4, 7});
  CHECK_THROWS_WITH(fast(x, bad, false), Contains("7"));
  CHECK(same_bits(fast(x, good, false), f(x, good, false)));
  CHECK_THROWS_WITH(fast(x, good, true), Contains("stop"));
  CHECK_THROWS_WITH(fast(x, bad, false), Contains("7"));
  CHECK(same_bits(fast(x, good, false), f(x, good, false)));
  CHECK_THROWS_WITH(fast(x.reshape({15}), good.to(DType::f32), false), Contains("index"));
}

TEST_CASE("gradients outside of the call, hooks, functions inside functions, user ops") {
  manual_seed(5);
  auto inner = compile([](const Tensor& x) { return swirl(x, x * 2, 1.5).sigmoid(); });
  auto f = [&](const Tensor& x, bool compiled) {
    Tensor h = x * 3;
    h.register_hook([](const Tensor& g) { return g * 0.5; });
    return (compiled ? inner(h) : swirl(h, h * 2, 1.5).sigmoid()).sum();
  };
  auto fast = compile(f);
  for (int i = 0; i < 3; ++i) {
    const Tensor start = randn({300});
    Tensor a = start.clone().set_requires_grad(true), b = start.clone().set_requires_grad(true);
    f(a, false).backward();
    fast(b, true).backward();
    CHECK(same_bits(a.grad(), b.grad()));
  }
  CHECK(inner.stats().calls == 3);
}

TEST_CASE("several threads call one compiled function") {
  const Tensor w = randn({64, 64});
  auto f = [&](const Tensor& x) { return (x.matmul(w) + x).relu() * 2; };
  auto fast = compile(f);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const Tensor x = full({8 + (i + t) % 3, 64}, 0.1 * i + t);
        if (!same_bits(fast(x), f(x))) ++wrong;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK(fast.stats().calls == 200);
}

TEST_CASE("ten thousand ops, and memory that goes back") {
  auto f = [](Tensor x) {
    for (int i = 0; i < 5000; ++i) x = (x + 1) * 0.999;
    return x;
  };
  auto fast = compile(f);
  const Tensor x = randn({100});
  const int64_t before = memory_stats().allocated;
  CHECK(same_bits(fast(x), f(x)));
  CHECK(same_bits(fast(x), f(x)));
  CHECK(memory_stats().allocated == before);
}

TEST_CASE("foreign memory that overlaps, empty tensors, no ops at all") {
  std::vector<float> memory(64, 1.0f);
  Tensor a = from_blob(memory.data(), {32}), b = from_blob(memory.data() + 16, {32});
  auto f = [](Tensor p, Tensor q) {
    p.add_(1);
    q.mul_(2);
    return p + q;
  };
  auto fast = compile(f);
  std::vector<float> copy = memory;
  Tensor c = from_blob(copy.data(), {32}), d = from_blob(copy.data() + 16, {32});
  for (int i = 0; i < 3; ++i) CHECK(same_bits(fast(a, b), f(c, d)));
  CHECK(memory == copy);
  auto nothing = compile([](const Tensor& x) { return x; });
  CHECK(nothing(a).is_same(a));
  CHECK(nothing(empty({0, 3})).numel() == 0);
  auto empties = compile([](const Tensor& x) { return x * 2 + x.sum(); });
  CHECK(empties(empty({0})).numel() == 0);
  CHECK_THROWS_WITH(compile([] {}, {.recordings = 0}), Contains("recordings"));
}

TEST_CASE("ops that have to read values say why") {
  auto f = [](const Tensor& x, const Tensor& leaf) {
    Tensor found = nonzero(x * 2);
    (leaf * 3).prod().backward();
    return std::vector<Tensor>{found + 1, one_hot(found.select(1, 0) * 2) * 2, (x + 1).index({x.gt(0)}) * 3};
  };
  auto fast = compile(f, {.on_fallback = OnFallback::silent});
  for (int i = 0; i < 3; ++i) {
    const Tensor x = full({5}, 0.5 + i);
    Tensor a = randn({4}, {.requires_grad = true}), b = a.detach().clone().set_requires_grad(true);
    CHECK(same_bits(f(x, a), fast(x, b)));
    CHECK(same_bits(a.grad(), b.grad()));
  }
  CHECK(fast.stats().breaks.empty());
  CHECK(fast.stats().explained.size() >= 3);
  CHECK_THAT(fast.report(), Contains("as its ops need, after nonzero: nonzero") && Contains("gradient of prod") &&
                                Contains("one_hot"));
}

TEST_CASE("common subexpressions are computed once") {
  manual_seed(4);
  bool hold = false;
  Tensor held;
  const auto f = [&](const Tensor& x, const Tensor& y) {
    const Tensor a = x.exp().matmul(y), b = x.exp().mul(y).sin(), c = x.exp().t().sin();
    const Tensor d = (x.exp() * y).sin() + a;  // the same again, and what follows from it
    Tensor changed = x.exp();
    changed.mul_(y);  // not the same any more
    if (hold) held = x.exp();
    return std::vector<Tensor>{a + c, b, d, changed.sin(), x.exp() + x.mul(2) * x.mul(3)};
  };
  const Tensor x = rand({70, 70}), y = rand({70, 70});
  for (CompileMode mode : {CompileMode::default_, CompileMode::reduce_overhead}) {
    auto fast = compile(f, {.mode = mode, .verify_every = 0, .pure = true});
    for (int i = 0; i < 7; ++i) {
      hold = i == 2;
      const Tensor now = x + i;
      CHECK(same_bits(fast(now, y), f(now, y)));
      if (hold) CHECK(same_bits(held, now.exp()));
    }
    CAPTURE(fast.report());
    CHECK_THAT(fast.report(), Contains(" 6 computed before"));
  }
}
