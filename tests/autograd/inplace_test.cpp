// In-place changes and views; the numbers are PyTorch's for the same programs.
#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "tests/catch.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

Tensor vec(std::initializer_list<double> v) { return tensor(v, {.dtype = DType::f64}); }
Tensor leaf(std::initializer_list<double> v) { return vec(v).set_requires_grad(true); }
bool same(const Tensor& a, std::initializer_list<double> v) {
  return a.defined() && (a - vec(v)).abs().max().item<double>() < 1e-12;
}

}  // namespace

TEST_CASE("in-place changes of views reach base and siblings") {
  SECTION("base after its view") {
    Tensor x = leaf({1, 2, 3, 4}), y = x * 2, v = y.slice(0, 1, 3);
    v.mul_(10);
    (y * y).sum().backward();
    CHECK(same(x.grad(), {8, 1600, 2400, 32}));
  }
  SECTION("sibling that overlaps") {
    Tensor x = leaf({1, 2, 3, 4}), y = x * 2, a = y.slice(0, 0, 2), b = y.slice(0, 1);
    a.mul_(3);
    (b * b).sum().backward();
    CHECK(same(x.grad(), {0, 144, 24, 32}));
  }
  SECTION("view of a base that gets history later") {
    Tensor w = leaf({5}), z = zeros({4}, {.dtype = DType::f64}), v = z.slice(0, 1, 3);
    z.add_(w);
    CHECK(v.requires_grad());
    (v * vec({1, 2})).sum().backward();
    CHECK(same(w.grad(), {3}));
  }
  SECTION("the same, used without asking it first") {
    Tensor w = leaf({5}), z = zeros({4}, {.dtype = DType::f64}), v = z.slice(0, 1, 3);
    z.add_(w);
    Tensor early = z * 2, u = v * vec({1, 2}), late = v * 3;
    (early.sum() + u.sum() + late.sum()).backward();
    CHECK(same(w.grad(), {8 + 3 + 6}));
  }
  SECTION("view of a view") {
    Tensor x = leaf({1, 2, 3, 4}), y = (x * 1).view({2, 2}), v = y.select(0, 0), u = v.slice(0, 1);
    u.copy_(vec({9}));
    v.mul_(2);
    y.square().sum().backward();
    CHECK(same(x.grad(), {8, 0, 6, 8}));
  }
  SECTION("rows assigned from a leaf") {
    Tensor w = leaf({2, 3}), z = ones({3, 2}, {.dtype = DType::f64});
    z.select(0, 1).copy_(w);
    z.select(0, 2).mul_(w);
    (z * z).sum().backward();
    CHECK(same(w.grad(), {8, 12}));
  }
  SECTION("transposed view of a view zeroed") {
    Tensor x = leaf({1, 2, 3, 4}), y = (x * x).view({2, 2});
    y.t().select(0, 0).zero_();
    y.sum().backward();
    CHECK(same(x.grad(), {0, 4, 0, 8}));
  }
  SECTION("two views of one base in turn") {
    Tensor x = leaf({1, 2, 3, 4}), y = x * 2, v = y.slice(0, {}, {}, 2), w = y.view({2, 2});
    v.mul_(v.detach().clone());
    w.select(0, 1).neg_();
    (w * w * v.sum()).sum().backward();
    CHECK(same(x.grad(), {4544, -512, -44352, -1024}));
  }
  SECTION("element assigned from another") {
    Tensor x = leaf({1, -2}), y = x.clone();
    y.select(0, 0).copy_(y.select(0, 1) * 3);
    y.mul_(y.detach().clone());
    y.sum().backward();
    CHECK(same(x.grad(), {0, -20}));
  }
  SECTION("in-place activation whose output is saved") {
    Tensor x = leaf({3}), y = x * x, z = y.sigmoid_();
    (z * x).sum().backward();
    CHECK(same(x.grad(), {1.0020974337197823}));
  }
}

TEST_CASE("in-place errors name both ops") {
  Tensor x = leaf({1, 2}), y = x.exp(), z = y * 3;
  y.add_(1);
  CHECK_THROWS_WITH(z.sum().backward(), Contains("exp") && Contains("add"));
  Tensor e = x.exp();
  e.slice(0, 0, 1).zero_();  // the same through a view
  CHECK_THROWS_WITH(e.sum().backward(), Contains("exp"));
  Tensor d = x.exp(), alias = d.detach();
  alias.mul_(2);  // and through a detached alias
  CHECK_THROWS_WITH(d.sum().backward(), Contains("exp") && Contains("mul"));
  CHECK_THROWS_WITH(x.add_(1), Contains("leaf"));
  CHECK_THROWS_WITH(x.slice(0, 0, 1).add_(1), Contains("view of a leaf"));
  CHECK_THROWS_WITH(vec({1}).expand({3}).add_(1), Contains("expanded"));
  {
    NoGrad guard;
    x.add_(1);
    x.slice(0, 0, 1).mul_(2);
  }
  CHECK(x.is_leaf());
  CHECK(same(x.detach(), {4, 3}));
  // A value that no gradient reads may change.
  Tensor a = x * 3;
  a.add_(1).add_(2);
  a.sum().backward();
  CHECK(same(x.grad(), {3, 3}));
}

TEST_CASE("versions count changes and are shared with views") {
  Tensor x = vec({1, 2, 3});
  uint32_t before = x.version();
  Tensor v = x.slice(0, 0, 2), d = x.detach();
  v.add_(1);
  d.mul_(2);
  CHECK(x.version() == before + 2);
  CHECK(v.version() == x.version());
  CHECK((x + 1).version() == 0);
}

TEST_CASE("detach, no_grad and requires_grad") {
  Tensor x = leaf({1, 2}), d = x.detach();
  CHECK_FALSE(d.requires_grad());
  CHECK(d.shares_storage_with(x));
  {
    NoGrad outer;
    CHECK_FALSE((x * 2).requires_grad());
    {
      EnableGrad inner;
      CHECK((x * 2).requires_grad());
    }
    CHECK_FALSE(is_grad_enabled());
    CHECK(zeros({1}).set_requires_grad(true).requires_grad());
  }
  CHECK_THROWS_AS(tensor(std::vector<int64_t>{1}).set_requires_grad(true), TypeError);
  CHECK_THROWS_WITH((x * 2).set_requires_grad(false), Contains("detach"));
  Tensor y = x * 2;
  CHECK(y.detach_().is_leaf());
  CHECK_THROWS_WITH((x * 2).slice(0, 0, 1).detach_(), Contains("view"));
  CHECK_THROWS_WITH(x.set_grad(vec({1})), Contains("set_grad"));
  Tensor w = leaf({1, 2});
  w.set_data(vec({5, 6, 7}));
  CHECK(w.requires_grad());
  (w * w).sum().backward();
  CHECK(same(w.grad(), {10, 12, 14}));
}

TEST_CASE("inference mode") {
  Tensor x = leaf({1, 2}), made, view;
  {
    InferenceMode guard;
    CHECK_FALSE(is_grad_enabled());
    made = x * 2;
    view = made.slice(0, 0, 1);
    made.add_(1);
    CHECK_FALSE(made.requires_grad());
    InferenceMode off(false);
    CHECK((x * 2).requires_grad());
  }
  CHECK_THROWS_WITH(made.add_(1), Contains("InferenceMode"));
  CHECK_THROWS_WITH(view.add_(1), Contains("InferenceMode"));
  CHECK_THROWS_WITH(x * made, Contains("InferenceMode"));
  CHECK_THROWS_WITH(made.set_requires_grad(true), Contains("InferenceMode"));
  CHECK(same(made + vec({1, 1}), {4, 6}));  // nothing is saved
  Tensor copy = made.clone();
  CHECK((x * copy).requires_grad());
}

TEST_CASE("views that may not be changed in place") {
  Tensor x = leaf({1, 2, 3, 4}), y = x * 2, plain = vec({1, 2, 3, 4});
  SECTION("made under NoGrad") {
    Tensor v = [&] {
      NoGrad guard;
      return y.slice(0, 1, 3);
    }();
    CHECK_THROWS_WITH(v.mul_(2), Contains("mul_: self is a view made under NoGrad"));
    CHECK_THROWS_WITH(v.view({2, 1}).mul_(2), Contains("made under NoGrad"));
    CHECK_NOTHROW(v.detach().clone().mul_(2));
    NoGrad guard;
    v.mul_(2);
    CHECK(same(y.detach(), {2, 8, 12, 8}));
  }
  SECTION("one of many") {
    CHECK_THROWS_WITH(y.split(2)[0].mul_(2), Contains("split, chunk or unbind"));
    CHECK_THROWS_WITH(y.chunk(2)[1].zero_(), Contains("split, chunk or unbind"));
    CHECK_THROWS_WITH(y.unbind()[0].add_(1), Contains("split, chunk or unbind"));
    CHECK_THROWS_WITH(y.split(2)[0].slice(0, 1).mul_(2), Contains("split, chunk or unbind"));
    plain.split(2)[0].mul_(2);
    CHECK(same(plain, {2, 4, 3, 4}));
  }
  SECTION("made under NoGrad of a tensor without gradient") {
    Tensor v = [&] {
      NoGrad guard;
      return plain.slice(0, 1, 3);
    }();
    v.mul_(2);
    CHECK(same(plain, {1, 4, 6, 4}));
  }
}

TEST_CASE("more parts than one node has outputs still have gradients") {
  Tensor x = ones({40000}).set_requires_grad(true);
  const auto parts = x.unbind(0), pieces = x.split(1, 0);
  CHECK(parts.size() == 40000);
  (parts[0] * 2.0 + parts[39999] * 3.0 + pieces[7].sum()).backward();
  CHECK(x.grad().sum().item<double>() == 6);
  CHECK(x.grad().select(0, 39999).item<double>() == 3);
}
