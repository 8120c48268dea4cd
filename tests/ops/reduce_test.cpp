#include "core/ops/reduce.h"

#include <cmath>
#include <limits>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/copy.h"
#include "core/ops/extreme.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/statistics.h"
#include "core/parallel.h"
#include "core/reduction_order.h"
#include "tests/catch.h"
#include "tests/same_bits.h"

using namespace weft;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

Tensor random(const Dims& sizes, DType dtype = DType::f32) { return empty(sizes, {.dtype = dtype}).normal_(); }
std::vector<double> values(const Tensor& t) {
  Tensor c = t.detach().cpu().to(DType::f64).contiguous();
  return {c.data<double>(), c.data<double>() + c.numel()};
}

// The sum as core/reduction_order.h writes it, element by element, `mask` saying which dimensions are summed.
Tensor ordered_sum(const Tensor& x, unsigned mask) {
  Dims order;
  for (int pass = 0; pass < 2; ++pass)
    for (int d = 0; d < x.dim(); ++d)
      if (static_cast<int>(mask >> d & 1) == pass) order.push_back(d);
  const int64_t n = detail::reduced_count(x.sizes(), mask);
  Tensor rows = x.permute(order).contiguous().view({-1, n}).cpu(), out = empty({rows.size(0)}, {.device = "cpu"});
  for (int64_t r = 0; r < rows.size(0); ++r) {
    const float* p = rows.data<float>() + r * n;
    out.data<float>()[r] = reduction::row<reduction::Sum<float>, float>(n, [p](int64_t i) { return p[i]; });
  }
  return out.to(x.device()).view(detail::reduced_sizes(x.sizes(), mask, false));
}

}  // namespace

TEST_CASE("sums follow the order of reduction_order.h in any layout and on any number of threads") {
  const int before = num_threads();
  for (const Dims& sizes : {Dims{5}, Dims{31}, Dims{70000}, Dims{3, 2500}, Dims{2500, 3}, Dims{1100, 1030},
                            Dims{40, 7, 33}, Dims{2, 1500, 70}, Dims{70, 4, 1, 50}}) {
    for (bool transposed : {false, true}) {
      Tensor x = random(sizes);
      if (transposed) x = x.transpose(0, -1);
      for (unsigned mask = 1; mask < 1u << x.dim(); ++mask) {
        DimList dims;
        dims.all = false;
        for (int d = 0; d < x.dim(); ++d)
          if (mask >> d & 1) dims.dims.push_back(d);
        CAPTURE(x.sizes().vec(), transposed, mask);
        Tensor want = ordered_sum(x, mask);
        for (int threads : {1, 3}) {
          set_num_threads(threads);
          REQUIRE(same_bits(x.sum({.dim = dims}), want));
        }
      }
    }
  }
  set_num_threads(before);
}

TEST_CASE("halves are summed in f32 and rounded once") {
  Tensor x = ones({4097, 3}, {.dtype = DType::bf16});
  CHECK(values(x.sum({.dim = 0})) == values(tensor({4097.0, 4097.0, 4097.0}).to(DType::bf16)));
  CHECK(x.sum().item().f64() == 12288);  // 12291 rounded to bf16
  CHECK(x.sum({.dtype = DType::f32}).item().f64() == 12291);
}

TEST_CASE("reductions of nothing") {
  Tensor x = zeros({0, 3});
  CHECK(values(x.sum({.dim = 0})) == std::vector<double>{0, 0, 0});
  CHECK(x.prod().item().f64() == 1);
  CHECK(std::isnan(x.mean().item().f64()));
  CHECK(x.all().item().truth());
  CHECK_FALSE(x.any().item().truth());
  CHECK(x.sum({.dim = 1}).sizes() == Dims{0});
  CHECK(values(logsumexp(x, 0)) == std::vector<double>{-kInf, -kInf, -kInf});
  CHECK_THROWS_AS(x.amax(), Error);
  CHECK_THROWS_AS(x.amax({.dim = 0}), Error);
  CHECK(x.amax({.dim = 1}).sizes() == Dims{0});
  CHECK_THROWS_AS(x.argmax(), Error);
  CHECK_THROWS_AS(x.max(0), Error);
}

TEST_CASE("dims are checked") {
  Tensor x = random({2, 3});
  CHECK_THROWS_AS(x.sum({.dim = 2}), IndexError);
  CHECK_THROWS_AS(x.sum({.dim = {0, -2}}), Error);
  CHECK_THROWS_AS(ones({2}, {.dtype = DType::i64}).mean(), TypeError);
  CHECK(ones({2, 2}, {.dtype = DType::i8}).sum().dtype() == DType::i64);
}

TEST_CASE("max and argmax: the first of equals, NaN above all, the same by rows and by columns") {
  Tensor x = round(random({3000, 5}).mul(4)).cpu();
  x.data<float>()[1700 * 5 + 2] = static_cast<float>(kNan);
  x.data<float>()[2900 * 5 + 2] = static_cast<float>(kNan);
  const Tensor there = x.to(default_device());
  const auto on_host = [](const std::tuple<Tensor, Tensor>& t) {
    return std::tuple(std::get<0>(t).cpu(), std::get<1>(t).cpu());
  };
  const auto [value, index] = on_host(there.max(0));
  const auto [row_value, row_index] = on_host(there.t().contiguous().max(1));
  CHECK(same_bits(index, row_index));
  CHECK(index.data<int64_t>()[2] == 1700);
  CHECK(std::isnan(value.data<float>()[2]));
  CHECK(there.argmax().item().i64() == 1700 * 5 + 2);
  for (int64_t c : {0, 1, 3, 4}) {
    int64_t want = 0;
    for (int64_t i = 0; i < 3000; ++i)
      if (x.data<float>()[i * 5 + c] > x.data<float>()[want * 5 + c]) want = i;
    CHECK(index.data<int64_t>()[c] == want);
    CHECK(row_value.data<float>()[c] == x.data<float>()[want * 5 + c]);
  }
  CHECK(random({200000}).fill_(2).argmin().item().i64() == 0);
}

TEST_CASE("gradients of extremes") {
  Tensor x = tensor({1.0, 3.0, 3.0, 0.0}).set_requires_grad(true);
  x.amax().backward();
  CHECK(values(x.grad()) == std::vector<double>{0, 0.5, 0.5, 0});
  x.set_grad(Tensor());
  std::get<0>(x.max(0)).backward();
  CHECK(values(x.grad()) == std::vector<double>{0, 1, 0, 0});
  Tensor n = tensor({1.0, kNan, 2.0}).set_requires_grad(true);
  n.max().backward();
  CHECK(values(n.grad()) == std::vector<double>{0, 1, 0});
}

TEST_CASE("gradient of prod beside zeros, and its gradient") {
  Tensor x = tensor({0.0, 2.0, 3.0}, {.dtype = DType::f64}).set_requires_grad(true);
  Tensor g = grad({x.prod()}, {x}, {.create_graph = true})[0];
  CHECK(values(g) == std::vector<double>{6, 0, 0});
  CHECK(values(grad({g.select(0, 0)}, {x}, {.retain_graph = true})[0]) == std::vector<double>{0, 3, 2});
  CHECK(values(grad({g.select(0, 1)}, {x})[0]) == std::vector<double>{3, 0, 0});
}

TEST_CASE("spread, norms and logsumexp at their edges") {
  Tensor same = ones({4}, {.dtype = DType::f64}).set_requires_grad(true);
  same.std().backward();
  CHECK(values(same.grad()) == std::vector<double>{0, 0, 0, 0});
  CHECK(std::isnan(var(ones({1})).item().f64()));
  // far from zero the variance does not cancel
  CHECK(var(tensor({1e8, 1e8 + 1, 1e8 + 2}, {.dtype = DType::f64})).item().f64() == Approx(1));
  Tensor zero = zeros({3}).set_requires_grad(true);
  zero.norm().backward();
  CHECK(values(zero.grad()) == std::vector<double>{0, 0, 0});
  Tensor v = tensor({3.0, -4.0, 0.0});
  CHECK(v.norm().item().f64() == 5);
  CHECK(v.norm(1).item().f64() == 7);
  CHECK(v.norm(0).item().f64() == 2);
  CHECK(v.norm(kInf).item().f64() == 4);
  CHECK(logsumexp(tensor({1000.0, 1000.0}), 0).item().f64() == Approx(1000 + std::log(2.0)));
  CHECK(logsumexp(tensor({-kInf, -kInf}), 0).item().f64() == -kInf);
  CHECK(count_nonzero(v).item().i64() == 2);
  CHECK(nansum(tensor({1.0, kNan})).item().f64() == 1);
}
