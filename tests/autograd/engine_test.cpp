#include <thread>

#include "autograd/autograd.h"
#include "core/allocator.h"
#include "core/ops/copy.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "tests/catch.h"
#include "tests/device.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

Tensor vec(std::initializer_list<double> v) { return tensor(v, {.dtype = DType::f64}); }
Tensor leaf(std::initializer_list<double> v) { return vec(v).set_requires_grad(true); }
bool same(const Tensor& a, std::initializer_list<double> v) {
  return a.defined() && a.sizes() == vec(v).sizes() && (a - vec(v)).abs().max().item<double>() < 1e-12;
}

}  // namespace

TEST_CASE("gradients accumulate; graphs are freed unless retained") {
  Tensor x = leaf({2, 3}), y = (x * x).sum();
  y.backward({}, {.retain_graph = true});
  y.backward();
  CHECK(same(x.grad(), {8, 12}));
  CHECK_THROWS_WITH(y.backward(), Contains("mul") && Contains("freed") && Contains("retain_graph"));
  (x + x).sum().backward();  // the same tensor twice
  CHECK(same(x.grad(), {10, 14}));
  x.set_grad(Tensor());
  Tensor sum = x * 0;
  for (int i = 0; i < 50; ++i) sum = sum + x * i;
  sum.sum().backward();
  CHECK(same(x.grad(), {1225, 1225}));
}

TEST_CASE("backward and grad: errors and unused inputs") {
  Tensor x = leaf({1, 2}), other = leaf({1});
  CHECK_THROWS_WITH((x * 2).backward(), Contains("more than one element"));
  CHECK_THROWS_WITH((x * 2).backward(vec({1, 2, 3})), Contains("[3]") && Contains("[2]"));
  CHECK_THROWS_WITH(vec({1}).backward(), Contains("does not require grad"));
  CHECK_THROWS_WITH(grad({(x * 2).sum()}, {other}), Contains("allow_unused"));
  CHECK_THROWS_WITH(grad({(x * 2).sum()}, {vec({1})}), Contains("does not require grad"));
  auto g = grad({(x * 2).sum()}, {x, other}, {.allow_unused = true});
  CHECK(same(g[0], {2, 2}));
  CHECK_FALSE(g[1].defined());
  CHECK_FALSE(x.grad().defined());
  CHECK(is_grad_enabled());
  // A leaf as its own output, and an input in the middle of the graph.
  CHECK(same(grad({other}, {other})[0], {1}));
  Tensor mid = x * 3, out = (mid * mid).sum();
  auto both = grad({out}, {mid, x});
  CHECK(same(both[0], {6, 12}));
  CHECK(same(both[1], {18, 36}));
}

TEST_CASE("higher derivatives, broadcast outputs, several roots") {
  Tensor x = leaf({2});
  Tensor g = grad({x * x}, {x}, {.create_graph = true})[0];
  (g * x).backward();
  CHECK(same(x.grad(), {8}));
  Tensor y = x.pow(4);
  for (double expected : {32.0, 48.0, 48.0, 24.0}) {
    y = grad({y}, {x}, {.create_graph = true})[0];
    CHECK(same(y.detach(), {expected}));
  }
  Tensor e = leaf({1, 2, 3});
  (e.expand({2, 3}) * vec({1, 2, 3})).sum().backward();
  CHECK(same(e.grad(), {2, 4, 6}));
  Tensor a = leaf({1, 2});
  backward({(a * 2).sum(), a * 3}, {Tensor(), vec({1, 10})});
  CHECK(same(a.grad(), {5, 32}));
  Tensor m = leaf({4, 0, 9, 0}), masked = m * 1;
  masked.mul_((m.detach() > 0).to(DType::f64));
  (masked * m).sum().backward();
  CHECK(same(m.grad(), {8, 0, 18, 0}));
}

TEST_CASE("a 100,000-op chain neither overflows the stack nor leaks") {
  for (bool with_backward : {true, false}) {
    double value = 1;
    bool freed = false;  // the leaf is held by the far end of the chain
    {
      Tensor y = from_blob(&value, {1}, {.dtype = DType::f64}, [&] { freed = true; }).set_requires_grad(true);
      Tensor x = y;
      for (int i = 0; i < 100000; ++i) y = y * 1.0;
      if (with_backward) y.backward();
      CHECK(x.grad().defined() == with_backward);
      x = Tensor();
      CHECK(freed == false);
    }
    CHECK(freed);
  }
  int64_t before = test::device_memory().allocated;
  {
    Tensor y = ones({1000}, {.dtype = DType::f64}).set_requires_grad(true);
    for (int i = 0; i < 1000; ++i) y = y.sin();
    CHECK(test::device_memory().allocated >= before + 1000 * 8000);
  }
  CHECK(test::device_memory().allocated == before);
}

TEST_CASE("backward frees what it used") {
  Tensor x = ones({1000}, {.dtype = DType::f64}).set_requires_grad(true);
  Tensor held = x + 1;
  Tensor y = held.exp().square().sum();
  CHECK(held.use_count() == 1);  // exp saves its output alone
  Tensor z = (held * held).sum();
  CHECK(held.use_count() > 1);
  int64_t before = test::device_memory().allocated;
  grad({y}, {x});
  CHECK(test::device_memory().allocated < before);
  z.backward();
  CHECK(held.use_count() == 1);
}

TEST_CASE("hooks see, replace and keep gradients, in order") {
  Tensor x = leaf({1, 2}), y = x * 3;
  std::string order;
  Tensor seen;
  y.retain_grad();
  int64_t first = y.register_hook([&](const Tensor& g) {
    order += "a";
    return g * 2;
  });
  y.register_hook([&](const Tensor& g) {
    order += "b";
    seen = g;
    return Tensor();
  });
  x.register_hook([&](const Tensor& g) {
    order += "x";
    return g + 1;
  });
  int64_t post = x.register_post_accumulate_grad_hook([&](const Tensor& t) {
    order += "p";
    CHECK(t.is_same(x));
    CHECK(t.grad().defined());
  });
  y.sum().backward({}, {.retain_graph = true});
  CHECK(order == "abxp");
  CHECK(same(seen, {2, 2}));
  CHECK(same(y.grad(), {2, 2}));  // after the hooks
  CHECK(same(x.grad(), {7, 7}));
  CHECK(same(grad({y.sum()}, {x}, {.retain_graph = true})[0], {7, 7}));  // hooks of a leaf count here too
  CHECK(order == "abxpabx");
  y.remove_hook(first);
  x.remove_hook(post);
  order.clear();
  x.set_grad(Tensor());
  y.register_hook([](const Tensor&) { return ones({5}); });
  CHECK_THROWS_WITH(y.sum().backward(), Contains("hook") && Contains("[5]"));
}

TEST_CASE("post-accumulate hooks run as soon as a leaf is complete") {
  Tensor late = leaf({1}), early = leaf({2});
  std::string order;
  Tensor y = early * 2;
  y.register_hook([&](const Tensor&) {
    order += "y";
    return Tensor();
  });
  late.register_post_accumulate_grad_hook([&](const Tensor& t) {
    order += "l";
    CHECK(same(t.grad(), {9}));
  });
  early.register_post_accumulate_grad_hook([&](const Tensor&) { order += "e"; });
  (y * late + late * 5).backward();
  CHECK(order == "lye");
}

TEST_CASE("hooks take part in graphs of gradients, and can run backward themselves") {
  Tensor x = leaf({3}), y = x * x;
  y.register_hook([](const Tensor& g) { return g * g * 2; });
  Tensor g = grad({y * x}, {x}, {.create_graph = true})[0];  // y + 2 x^2 * 2x
  CHECK(same(g.detach(), {9 + 4 * 27}));
  CHECK(same(grad({g}, {x})[0], {2 * 6 + 12 * 9}));  // the hook runs again: g reads y

  Tensor a = leaf({2}), b = a * 3;
  b.register_hook([&](const Tensor&) {
    EnableGrad guard;
    Tensor inner = leaf({5});
    (inner * inner).backward();
    CHECK(same(inner.grad(), {10}));
    (a * a).backward();  // the same leaf as the outer run
    return Tensor();
  });
  (b * b).backward();
  CHECK(same(a.grad(), {36 + 4}));
}

TEST_CASE("saved-tensor hooks pack and unpack what gradients read") {
  Tensor x = leaf({1, 2});
  int packed = 0, unpacked = 0;
  Tensor y;
  {
    SavedTensorHooks hooks(
        [&](const Tensor& t) {
          ++packed;
          return std::any(t.to(DType::f32));
        },
        [&](const std::any& p) {
          ++unpacked;
          return std::any_cast<const Tensor&>(p).to(DType::f64);
        });
    y = (x * x).exp();
  }
  Tensor z = (y * y).sum();
  int before = packed;
  CHECK(packed == 3);
  Tensor g = grad({z}, {x}, {.create_graph = true})[0];
  CHECK(packed == before);
  CHECK(unpacked >= 3);
  double e = std::exp(2.0);
  CHECK(g.select(0, 0).item<double>() == Approx(4 * e));
  CHECK(grad({g.sum()}, {x})[0].select(0, 0).item<double>() == Approx(4 * e + 16 * e));
}

namespace {
[[gnu::noinline]] Tensor the_place_of_the_mistake(const Tensor& x) { return x.sqrt() * 1; }
}  // namespace
Tensor visible_caller(const Tensor& x) { return the_place_of_the_mistake(x) * 2; }

TEST_CASE("anomaly mode names the op and the forward call site") {
  Tensor x = leaf({0});
  AnomalyMode anomaly;
  Tensor y = visible_caller(x) * 0.0;
  CHECK_THROWS_WITH(y.backward(), Contains("sqrt") && Contains("NaN") && Contains("visible_caller"));
  Tensor fine = (x * 2).sum();
  fine.backward();
  Tensor before;
  {
    AnomalyMode off(false);
    before = x.sqrt() * 0.0;
  }
  CHECK_THROWS_WITH(before.backward(), Contains("sqrt") && Contains("off in the forward pass"));
}

TEST_CASE("threads run backward at once on graphs that share leaves") {
  Tensor x = ones({64}, {.dtype = DType::f64}).set_requires_grad(true);
  Tensor shared = (x * x).sum();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        (x * 2).sum().backward();
        shared.backward({}, {.retain_graph = true});
        grad({(x * x * x).sum()}, {x});
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(x.grad().eq(4 * 50 * (2 + 2)).all().item<bool>());
}
