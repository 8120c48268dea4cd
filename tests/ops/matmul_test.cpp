#include "core/ops/matmul.h"

#include <cmath>
#include <functional>
#include <random>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "tests/catch.h"

using namespace weft;

namespace {

std::mt19937 engine(3);

Tensor random(const Dims& sizes, DType dtype = DType::f64) {
  std::normal_distribution<double> normal;
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  std::vector<double> values(n);
  for (double& v : values) v = normal(engine);
  return tensor(values, {.dtype = DType::f64}).reshape(sizes).to(dtype);
}

// The product of all broadcast batches by elementwise ops.
Tensor reference(const Tensor& a, const Tensor& b) { return a.unsqueeze(-1).mul(b.unsqueeze(-3)).sum({.dim = -2}); }

bool close(const Tensor& a, const Tensor& b, double tolerance = 1e-12) {
  return a.sizes() == b.sizes() && a.dtype() == b.dtype() &&
         (a.numel() == 0 || a.sub(b).abs().amax().item().f64() <= tolerance);
}

// Gradients, and gradients of gradients, of sum(w f(inputs)) against central differences.
void check_gradients(const std::function<Tensor(const std::vector<Tensor>&)>& f, std::vector<Tensor> inputs) {
  for (Tensor& x : inputs) x.set_requires_grad(true);
  const Tensor w = random(f(inputs).sizes());
  std::vector<Tensor> u;
  for (const Tensor& x : inputs) u.push_back(random(x.sizes()));
  const auto value = [&] { return f(inputs).mul(w).sum(); };
  const auto along = [&](bool create) {  // derivative in direction u
    const auto g = grad({value()}, inputs, {.create_graph = create});
    Tensor total = zeros({}, {.dtype = DType::f64});
    for (size_t i = 0; i < g.size(); ++i) total = total.add(g[i].mul(u[i]).sum());
    return total;
  };
  const auto moved = [&](double by, const std::function<double()>& what) {
    NoGrad guard;
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i].add_(u[i], by);
    double v = 0;
    {
      EnableGrad on;
      v = what();
    }
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i].add_(u[i], -by);
    return v;
  };
  const double h = 1e-5;
  const auto plain = [&] { return value().item().f64(); };
  const double first = (moved(h, plain) - moved(-h, plain)) / (2 * h);
  REQUIRE(along(false).item().f64() == Approx(first).epsilon(1e-6).margin(1e-7));
  const auto slope = [&] { return along(false).item().f64(); };
  const double second = (moved(h, slope) - moved(-h, slope)) / (2 * h);
  const auto g = grad({along(true)}, inputs, {.allow_unused = true});
  double total = 0;
  for (size_t i = 0; i < g.size(); ++i) total += g[i].defined() ? g[i].mul(u[i]).sum().item().f64() : 0;
  REQUIRE(total == Approx(second).epsilon(1e-6).margin(1e-6));
}

}  // namespace

TEST_CASE("matmul: all ranks, broadcast batches") {
  const Dims shapes[][2] = {
      {{4}, {4}},       {{3, 4}, {4}},    {{4}, {4, 5}},          {{3, 4}, {4, 5}},       {{2, 3, 4}, {4, 5}},
      {{2, 3, 4}, {4}}, {{4}, {2, 4, 5}}, {{3, 4}, {2, 4, 5}},    {{2, 3, 4}, {2, 4, 5}}, {{2, 1, 3, 4}, {6, 4, 5}},
      {{0, 4}, {4, 5}}, {{3, 0}, {0, 5}}, {{2, 3, 0}, {2, 0, 5}}, {{1, 2, 3, 4}, {4, 5}}};
  for (const auto& s : shapes) {
    const Tensor a = random(s[0]), b = random(s[1]);
    Tensor want = reference(a.dim() == 1 ? a.unsqueeze(0) : a, b.dim() == 1 ? b.unsqueeze(1) : b);
    if (a.dim() == 1) want = want.squeeze(-2);
    if (b.dim() == 1) want = want.squeeze(-1);
    CAPTURE(s[0].vec(), s[1].vec());
    REQUIRE(close(matmul(a, b), want));
    REQUIRE(close(matmul(a.to(DType::f32), b.to(DType::f32)), want.to(DType::f32), 1e-5));
  }
}

TEST_CASE("products read any layout") {
  const Tensor a = random({6, 10}), b = random({10, 8});
  const Tensor want = reference(a, b);
  REQUIRE(close(mm(a.t().contiguous().t(), b.t().contiguous().t()), want));
  REQUIRE(close(mm(a.slice(1, 0, {}, 2), b.slice(0, 0, {}, 2)), reference(a.slice(1, 0, {}, 2), b.slice(0, 0, {}, 2))));
  REQUIRE(close(mm(a.narrow(0, 0, 1).expand({4, 10}), b), reference(a.narrow(0, 0, 1).expand({4, 10}), b)));
  const Tensor x = random({3, 4, 10}), w = random({8, 10}), bias = random({16}).slice(0, 0, {}, 2);
  REQUIRE(close(linear(x.transpose(0, 1), w, bias), reference(x.transpose(0, 1), w.t()).add(bias)));
}

TEST_CASE("addmm and its kin") {
  const Tensor a = random({3, 4}), b = random({4, 5}), A = random({2, 3, 4}), B = random({2, 4, 5}), v = random({4});
  const AddmmOptions o{.beta = 0.5, .alpha = -2};
  for (const Dims& s : {Dims{3, 5}, Dims{5}, Dims{3, 1}, Dims{}}) {
    const Tensor c = random(s);
    REQUIRE(close(addmm(c, a, b, o), c.mul(0.5).sub(reference(a, b).mul(2))));
    REQUIRE(close(addmm(c, a, b), c.add(reference(a, b))));
    REQUIRE(close(addbmm(c, A, B, o), c.mul(0.5).sub(reference(A, B).sum({.dim = 0}).mul(2))));
    REQUIRE(close(baddbmm(c, A, B, o), c.mul(0.5).sub(reference(A, B).mul(2))));
  }
  REQUIRE(close(addmv(random({1}).mul(0), a, v, o), mv(a, v).mul(-2)));
  const Tensor nan = full({3, 5}, NAN, {.dtype = DType::f64});
  REQUIRE(close(addmm(nan, a, b, {.beta = 0}), reference(a, b)));
  Tensor c = random({5, 3}).t(), before = c.clone();
  addmm_(c, a, b, o);
  REQUIRE(c.strides() == Dims{1, 3});
  REQUIRE(close(c, before.mul(0.5).sub(reference(a, b).mul(2))));
  Tensor grown = ones({1}, {.dtype = DType::f64});
  addbmm_(grown, A, B);
  REQUIRE(close(grown, reference(A, B).sum({.dim = 0}).add(1)));
  Tensor square = random({4, 4}), old = square.clone();
  addmm_(square, square, square);
  REQUIRE(close(square, old.add(reference(old, old))));
  const Tensor i = tensor(std::vector<int64_t>{1, 2, 3, 4}).reshape({2, 2});
  REQUIRE(addmm(i, i, i, {.beta = 0.6, .alpha = 1.5}).equal(mm(i, i)));
  REQUIRE(
      addmm(i, i, i, {.beta = 2, .alpha = -1}).equal(tensor(std::vector<int64_t>{-5, -6, -9, -14}).reshape({2, 2})));
}

TEST_CASE("outer and kron promote") {
  const Tensor a = tensor(std::vector<int64_t>{1, 2}), b = tensor({0.5, 2.0}, {.dtype = DType::f32});
  REQUIRE(outer(a, b).equal(tensor({0.5, 2.0, 1.0, 4.0}, {.dtype = DType::f32}).reshape({2, 2})));
  REQUIRE(kron(a, b).equal(tensor({0.5, 2.0, 1.0, 4.0}, {.dtype = DType::f32})));
  REQUIRE(kron(eye(2), ones({1, 2})).equal(tensor({1, 1, 0, 0, 0, 0, 1, 1}, {.dtype = DType::f32}).reshape({2, 4})));
}

TEST_CASE("gradients of products") {
  const auto two = [](Tensor (*f)(const Tensor&, const Tensor&)) {
    return [f](const std::vector<Tensor>& x) { return f(x[0], x[1]); };
  };
  check_gradients(two(matmul), {random({3, 4}), random({4, 2})});
  check_gradients(two(matmul), {random({2, 3, 4}), random({4, 2})});
  check_gradients(two(matmul), {random({2, 1, 3, 4}), random({3, 4, 2})});
  check_gradients(two(matmul), {random({4}), random({3, 4, 2})});
  check_gradients(two(mv), {random({3, 4}), random({4})});
  check_gradients(two(dot), {random({4}), random({4})});
  check_gradients(two(kron), {random({2, 3}), random({2})});
  check_gradients([](const auto& x) { return linear(x[0], x[1], x[2]); },
                  {random({2, 3, 4}), random({5, 4}), random({5})});
  check_gradients([](const auto& x) { return linear(x[0], x[1]); }, {random({4}), random({5, 4})});
  const AddmmOptions o{.beta = 0.5, .alpha = -2};
  check_gradients([&](const auto& x) { return addmm(x[0], x[1], x[2], o); },
                  {random({5}), random({3, 4}), random({4, 5})});
  check_gradients([&](const auto& x) { return baddbmm(x[0], x[1], x[2], o); },
                  {random({3, 1}), random({2, 3, 4}), random({2, 4, 5})});
  check_gradients([&](const auto& x) { return addbmm(x[0], x[1], x[2], o); },
                  {random({3, 5}), random({2, 3, 4}), random({2, 4, 5})});
  check_gradients(
      [&](const auto& x) {
        Tensor c = x[0].mul(1.0);
        return addmm_(c, x[1], x[2], o);
      },
      {random({3, 5}), random({3, 4}), random({4, 5})});
}

TEST_CASE("products refuse what does not fit") {
  const Tensor a = random({3, 4}), b = random({4, 5});
  REQUIRE_THROWS_AS(mm(a, a), Error);
  REQUIRE_THROWS_AS(mm(a, b.to(DType::f32)), TypeError);
  REQUIRE_THROWS_AS(mm(a.to(DType::bool_), b.to(DType::bool_)), TypeError);
  REQUIRE_THROWS_AS(mm(a, b.unsqueeze(0)), Error);
  REQUIRE_THROWS_AS(bmm(random({2, 3, 4}), random({3, 4, 5})), Error);
  REQUIRE_THROWS_AS(matmul(random({2, 3, 4}), random({3, 4, 5})), Error);
  REQUIRE_THROWS_AS(matmul(random({}), a), Error);
  REQUIRE_THROWS_AS(dot(random({3}), random({4})), Error);
  REQUIRE_THROWS_AS(linear(a, b), Error);
  REQUIRE_THROWS_AS(linear(a, random({7, 4}), random({6})), Error);
  REQUIRE_THROWS_AS(addmm(random({4, 5}), a, b), Error);
  REQUIRE_THROWS_AS(mm(Tensor(), b), Error);
  Tensor c = random({5});
  REQUIRE_THROWS_AS(addmm_(c, a, b), Error);
}
