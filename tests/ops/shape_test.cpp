// Copies that rearrange, sorting, running sums and embeddings: values, gradients, errors.
#include "core/ops/shape.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/embedding.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/scan.h"
#include "core/ops/sort.h"
#include "core/parallel.h"
#include "tests/catch.h"

using namespace weft;

namespace {
Tensor ints(std::vector<int64_t> v, const Dims& sizes = {-1}) { return tensor(v).reshape(sizes); }
bool same(const Tensor& a, const Tensor& b) { return a.sizes() == b.sizes() && a.dtype() == b.dtype() && equal(a, b); }
}  // namespace

TEST_CASE("cat and stack") {
  Tensor a = arange(4).view({2, 2}), b = arange(2).view({2, 1});
  CHECK(same(cat({a, b}, 1), ints({0, 1, 0, 2, 3, 1}, {2, 3})));
  CHECK(same(cat({empty({0}, {.dtype = DType::i64}), a.t()}), a.t()));
  CHECK(cat({a, ones({1, 2})}).dtype() == DType::f32);
  CHECK(same(stack({ints({1, 2}), ints({3, 4})}, -1), ints({1, 3, 2, 4}, {2, 2})));
  CHECK(same(hstack({ints({1}), ints({2})}), ints({1, 2})));
  CHECK(same(vstack({ints({1}), ints({2})}), ints({1, 2}, {2, 1})));
  CHECK(dstack({ints({1}), ints({2})}).sizes() == Dims{1, 1, 2});
  CHECK_THROWS_AS(cat({a, ones({3, 3})}), Error);
  CHECK_THROWS_AS(cat(std::vector<Tensor>{}), Error);
  CHECK_THROWS_AS(stack({a, b}), Error);
  Tensor x = ones({2, 1}, {.requires_grad = true}), y = ones({2, 2}, {.dtype = DType::f64, .requires_grad = true});
  cat({x, y}, 1).mul(arange(6).view({2, 3})).sum().backward();
  CHECK(same(x.grad(), tensor({0, 3}).view({2, 1})));
  CHECK(same(y.grad(), tensor({1, 2, 4, 5}, {.dtype = DType::f64}).view({2, 2})));
}

TEST_CASE("repeat, flip, roll, triangles") {
  Tensor x = ints({1, 2, 3, 4}, {2, 2});
  CHECK(same(x.repeat({1, 2}), ints({1, 2, 1, 2, 3, 4, 3, 4}, {2, 4})));
  CHECK(same(x.tile({2}), x.repeat({1, 2})));
  CHECK(x.repeat({3, 2, 2}).sizes() == Dims{3, 4, 4});
  CHECK(arange(32).view({2, 2, 2, 2, 2}).repeat({2, 2, 2, 2, 2}).sizes() == Dims{4, 4, 4, 4, 4});
  CHECK(x.repeat({0, 1}).sizes() == Dims{0, 2});
  CHECK(same(repeat_interleave(x, 2, 1), ints({1, 1, 2, 2, 3, 3, 4, 4}, {2, 4})));
  CHECK(same(repeat_interleave(x, ints({0, 2}), 0), ints({3, 4, 3, 4}, {2, 2})));
  CHECK(same(x.flip({0, 1}), ints({4, 3, 2, 1}, {2, 2})));
  CHECK(same(x.t().flip({0}), ints({2, 4, 1, 3}, {2, 2})));
  CHECK(same(x.roll({1}), ints({4, 1, 2, 3}, {2, 2})));
  CHECK(same(x.roll({-1, 1}, {0, 1}), ints({4, 3, 2, 1}, {2, 2})));
  Tensor m = arange(1, 10).view({3, 3});
  CHECK(same(m.tril(-1), ints({0, 0, 0, 4, 0, 0, 7, 8, 0}, {3, 3})));
  CHECK(same(m.triu(1), ints({0, 2, 3, 0, 0, 6, 0, 0, 0}, {3, 3})));
  CHECK(same(m.tril(5), m));
  CHECK(same(diag(ints({1, 2}), 1), ints({0, 1, 0, 0, 0, 2, 0, 0, 0}, {3, 3})));
  CHECK(same(diag(m), ints({1, 5, 9})));
  CHECK(same(meshgrid({ints({1, 2}), ints({3, 4, 5})})[1], ints({3, 4, 5, 3, 4, 5}, {2, 3})));
  CHECK_THROWS_AS(x.flip({0, 0}), Error);
  CHECK_THROWS_AS(x.repeat({2}), Error);
  CHECK_THROWS_AS(ints({1}).tril(), Error);
}

TEST_CASE("pad, one_hot, glu") {
  Tensor x = arange(1, 5).view({1, 4});
  CHECK(same(pad(x, {1, 2}), ints({0, 1, 2, 3, 4, 0, 0}, {1, 7})));
  CHECK(same(pad(x, {-1, -1, 1, 0}, "constant", 9), ints({9, 9, 2, 3}, {2, 2})));
  CHECK(same(pad(x, {2, 1}, "reflect"), ints({3, 2, 1, 2, 3, 4, 3}, {1, 7})));
  CHECK(same(pad(x, {2, 1}, "replicate"), ints({1, 1, 1, 2, 3, 4, 4}, {1, 7})));
  CHECK(same(pad(x, {2, 1}, "circular"), ints({3, 4, 1, 2, 3, 4, 1}, {1, 7})));
  CHECK_THROWS_AS(pad(x, {4, 0}, "reflect"), Error);
  CHECK_THROWS_AS(pad(x, {1}), Error);
  CHECK_THROWS_AS(pad(x, {1, 1}, "mirror"), Error);
  Tensor g = arange(4).to(DType::f32).view({1, 4}).set_requires_grad(true);
  pad(g, {2, 1}, "reflect").mul(arange(7)).sum().backward();
  CHECK(equal(g.grad(), tensor({2, 4, 10, 5}).view({1, 4})));
  CHECK(same(one_hot(ints({2, 0})), ints({0, 0, 1, 1, 0, 0}, {2, 3})));
  CHECK_THROWS_AS(one_hot(ints({3}), 3), IndexError);
  CHECK_THROWS_AS(one_hot(ints({-1})), IndexError);
  CHECK(glu(zeros({2, 4})).sizes() == Dims{2, 2});
  CHECK_THROWS_AS(glu(zeros({3})), Error);
}

TEST_CASE("sort and topk: stable, NaN is largest") {
  Tensor x = tensor({2, NAN, -0.0, 1, 0.0, -INFINITY, 2});
  auto [v, i] = x.sort();
  CHECK(same(i, ints({5, 2, 4, 3, 0, 6, 1})));
  CHECK(std::signbit(v.cpu().data<float>()[1]));
  CHECK(same(std::get<1>(x.sort(0, true)), ints({1, 0, 6, 3, 2, 4, 5})));
  CHECK(same(std::get<1>(x.topk(3)), ints({1, 0, 6})));
  CHECK(same(std::get<1>(x.topk(2, 0, false)), ints({5, 2})));
  CHECK(std::get<0>(kthvalue(x, 4)).item<float>() == 1);
  CHECK_THROWS_AS(x.topk(8), Error);
  CHECK_THROWS_AS(x.sort(1), IndexError);
  // The radix sort of long lines agrees with the short one, for every dtype and along strided lines.
  manual_seed(3);
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i16, DType::u8}) {
    Tensor y = randn({3000, 2}).mul(50).abs().to(t);
    auto [sorted, at] = y.sort(0);
    Tensor a = sorted.narrow(0, 0, 2999), b = sorted.narrow(0, 1, 2999);
    CHECK(a.le(b).all().item<bool>());
    CHECK(equal(y.gather(0, at), sorted));
    CHECK(a.lt(b).logical_or(at.narrow(0, 0, 2999).lt(at.narrow(0, 1, 2999))).all().item<bool>());
    CHECK(equal(std::get<0>(y.topk(40, 0, false)), sorted.narrow(0, 0, 40)));
  }
  Tensor g = tensor({3, 1, 2}).set_requires_grad(true);
  std::get<0>(g.sort()).mul(tensor({1, 10, 100})).sum().backward();
  CHECK(equal(g.grad(), tensor({100, 1, 10})));
}

TEST_CASE("cumsum and cumprod") {
  Tensor x = arange(1, 7).view({2, 3});
  CHECK(same(x.cumsum(0), ints({1, 2, 3, 5, 7, 9}, {2, 3})));
  CHECK(same(cumprod(x, 1), ints({1, 2, 6, 4, 20, 120}, {2, 3})));
  CHECK(x.to(DType::u8).cumsum(1).dtype() == DType::i64);
  CHECK(x.cumsum(1, DType::f16).dtype() == DType::f16);
  Tensor p = tensor({2, 0, 3}, {.dtype = DType::f64}).set_requires_grad(true);
  cumprod(p, 0).sum().backward();  // d(a + ab + abc) = 1 + b + bc, a + ac, ab
  CHECK(equal(p.grad(), tensor({1, 8, 0}, {.dtype = DType::f64})));
  Tensor q = tensor({2, 4, 3}, {.dtype = DType::f64}).set_requires_grad(true);
  q.cumsum(0).mul(q).sum().backward();
  CHECK(equal(q.grad(), tensor({11, 13, 12}, {.dtype = DType::f64})));
}

TEST_CASE("embedding") {
  Tensor w = arange(8).to(DType::f32).view({4, 2}).set_requires_grad(true);
  Tensor y = embedding(ints({1, 3, 1, 0}, {2, 2}), w, {.padding_idx = -4});
  CHECK(equal(y, tensor({2, 3, 6, 7, 2, 3, 0, 1}).view({2, 2, 2})));
  y.sum().backward();
  CHECK(equal(w.grad(), tensor({0, 0, 2, 2, 0, 0, 1, 1}).view({4, 2})));
  CHECK_THROWS_AS(embedding(ints({4}), w), IndexError);
  CHECK_THROWS_AS(embedding(ints({-1}), w), IndexError);
  CHECK_THROWS_AS(embedding(ints({0}), w, {.padding_idx = 4}), IndexError);
  CHECK_THROWS_AS(embedding(tensor({0.0}), w), TypeError);
  CHECK_THROWS_AS(embedding(ints({0}), zeros({2})), Error);
}
