// Indexing against what numpy and PyTorch give, gradients, errors, and the same bits for any number of threads.
#include "core/ops/index.h"

#include "core/error.h"
#include "core/ops/gather.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/parallel.h"
#include "tests/catch.h"

using namespace weft;

namespace {

Tensor ints(std::vector<int64_t> v, const Dims& sizes = {-1}) { return tensor(v).reshape(sizes); }
bool same(const Tensor& a, const Tensor& b) { return a.sizes() == b.sizes() && a.dtype() == b.dtype() && equal(a, b); }

}  // namespace

TEST_CASE("index: views where no tensor is involved") {
  Tensor x = arange(24).view({2, 3, 4});
  Tensor y = x.index({1, Slice(0, 3, 2), None, -1});
  CHECK(same(y, ints({15, 23}, {2, 1})));
  CHECK(y.shares_storage_with(x));
  CHECK(same(x.index({Ellipsis, 0}), ints({0, 4, 8, 12, 16, 20}, {2, 3})));
  CHECK(same(x[1][2], ints({20, 21, 22, 23})));
  CHECK(same(x.index({Slice(None, 1), Ellipsis, Slice(-1)}), ints({3, 7, 11}, {1, 3, 1})));
}

TEST_CASE("index: index tensors and masks") {
  Tensor x = arange(24).view({2, 3, 4});
  Tensor i = ints({1, 0}), j = ints({2, -1, 0, 1}, {2, 2});
  CHECK(same(x.index({i}), x.index_select(0, i)));
  CHECK(same(x.index({i, j}), x.reshape({6, 4}).index({ints({5, 2, 3, 1}, {2, 2})})));
  // Index tensors apart: their dimensions come first.
  CHECK(x.index({i, Slice(), ints({0, 3})}).sizes() == Dims{2, 3});
  CHECK(same(x.index({i, Slice(), ints({0, 3})}), ints({12, 16, 20, 3, 7, 11}, {2, 3})));
  CHECK(x.index({Slice(), j}).sizes() == Dims{2, 2, 2, 4});
  CHECK(same(x.index({x.gt(20)}), ints({21, 22, 23})));
  CHECK(same(x.index({0, ints({1, 0, 1}).to(DType::bool_)}), ints({0, 1, 2, 3, 8, 9, 10, 11}, {2, 4})));
  CHECK(x.index({true}).sizes() == Dims{1, 2, 3, 4});
  CHECK(x.index({false}).sizes() == Dims{0, 2, 3, 4});
  CHECK(same(x.index({full({}, 1), Slice(), 0}), ints({12, 16, 20})));
  CHECK(x.index({empty({0}, {.dtype = DType::i64})}).sizes() == Dims{0, 3, 4});
}

TEST_CASE("index_put_: values, numbers, accumulate") {
  Tensor x = zeros({3, 4});
  x.index_put_({1}, tensor({1, 2, 3, 4}));
  x.index_put_({Slice(), 0}, 9);
  CHECK(equal(x, tensor({9, 0, 0, 0, 9, 2, 3, 4, 9, 0, 0, 0}).view({3, 4})));
  Tensor rows = ints({0, 2, 0});
  x.zero_().index_put_({rows}, ones({3, 4}), true);
  CHECK(equal(x.select(1, 0), tensor({2, 0, 1})));
  x.index_put_({rows, ints({3, 3, 3})}, tensor({5, 6, 7}));  // the last of equal places wins
  CHECK(x.index({0, 3}).item<float>() == 7);
  x.index_put_({x.gt(1)}, -1);
  CHECK(x.index({0, 0}).item<float>() == -1);
  x.index_put_({0}, ones({1, 1, 4}));  // leading ones do not matter
  CHECK(equal(x[0], ones({4})));
  x.t().index_put_({ints({0, 1}), Slice(), None}, 3);  // through a transposed view
  CHECK(equal(x.select(1, 1), full({3}, 3.0)));
}

TEST_CASE("index: gradients") {
  Tensor x = arange(6).to(DType::f64).view({2, 3}).set_requires_grad(true);
  x.index({ints({0, 0, 1}), ints({1, 1, 2})}).mul(tensor({1, 10, 100}, {.dtype = DType::f64})).sum().backward();
  CHECK(equal(x.grad(), tensor({0, 11, 0, 0, 0, 100}, {.dtype = DType::f64}).view({2, 3})));
  Tensor v = ones({2}, {.dtype = DType::f64, .requires_grad = true});
  x.set_grad(Tensor());
  Tensor y = x.mul(2);
  y.index_put_({ints({1, 0}), 2}, v);
  y.mul(arange(6).view({2, 3})).sum().backward();
  CHECK(equal(x.grad(), tensor({0, 2, 0, 6, 8, 0}, {.dtype = DType::f64}).view({2, 3})));
  CHECK(equal(v.grad(), tensor({5, 2}, {.dtype = DType::f64})));
}

TEST_CASE("index: errors name the op, the index and the shape") {
  Tensor x = zeros({2, 3});
  CHECK_THROWS_WITH(x.index({ints({0, 2})}), "index: index 2 out of range for dim 0 of size 2");
  CHECK_THROWS_WITH(x.index_select(1, ints({-1})), "index_select: index -1 out of range for dim 1 of size 3");
  CHECK_THROWS_AS(x.index({0, 0, 0}), IndexError);
  CHECK_THROWS_AS(x.index({Ellipsis, Ellipsis}), IndexError);
  CHECK_THROWS_AS(x.index({tensor({0.5})}), TypeError);
  CHECK_THROWS_AS(x.index({ones({3}, {.dtype = DType::bool_})}), IndexError);
  CHECK_THROWS_AS(x.index({5}), IndexError);
  CHECK_THROWS_AS(x.index_put_({0}, ones({4})), Error);
  CHECK_THROWS_AS(x.index_add(0, ints({0}), ones({1, 3}, {.dtype = DType::f64})), TypeError);
  CHECK_THROWS_AS(x.gather(0, ints({5}, {1, 1})), IndexError);
  CHECK_THROWS_AS(x.gather(0, ints({0})), Error);
  CHECK_THROWS_AS(x.scatter(0, ints({0, 0, 0}, {1, 3}), ones({1, 2})), Error);
}

TEST_CASE("index functions") {
  Tensor x = arange(6).view({2, 3});
  CHECK(same(take(x, ints({5, -6})), ints({5, 0})));
  CHECK(same(masked_select(x, ints({1, 0, 1}).to(DType::bool_)), ints({0, 2, 3, 5})));
  CHECK(same(nonzero(x.gt(3)), ints({1, 1, 1, 2}, {2, 2})));
  CHECK(same(nonzero(full({}, 1)), empty({1, 0}, {.dtype = DType::i64})));
  CHECK(same(index_fill(x, 1, ints({0, 2}), 7), ints({7, 1, 7, 7, 4, 7}, {2, 3})));
  CHECK(same(index_copy(x, 0, ints({1}), ints({7, 8, 9}, {1, 3})), ints({0, 1, 2, 7, 8, 9}, {2, 3})));
  CHECK(same(x.index_add(1, ints({0, 0}), ints({1, 2, 3, 4}, {2, 2}), 10), ints({30, 1, 2, 73, 4, 5}, {2, 3})));
  CHECK(same(masked_scatter(x, x.gt(3), ints({50, 60, 70})), ints({0, 1, 2, 3, 50, 60}, {2, 3})));
  CHECK(same(x.gather(1, ints({2, 0}, {2, 1})), ints({2, 3}, {2, 1})));
  CHECK(same(x.scatter(1, ints({2, 0}, {2, 1}), -1), ints({0, 1, -1, -1, 4, 5}, {2, 3})));
  CHECK(same(scatter(x, 0, ints({1, 1, 0}, {1, 3}), ints({2, 3, 4}, {1, 3}), "multiply"),
             ints({0, 1, 8, 6, 12, 5}, {2, 3})));
  CHECK(same(take_along_dim(x, ints({1}, {1, 1}), 1), ints({1, 4}, {2, 1})));
}

TEST_CASE("index: sums of equal places have the same bits for any number of threads") {
  manual_seed(1);
  const int before = num_threads();
  Tensor narrow_src = randn({100000}), wide_src = randn({3000, 192}), place = randint(40, {100000}),
         row = randint(5, {3000});
  Tensor results[2][3];
  for (int t = 0; t < 2; ++t) {
    set_num_threads(t == 0 ? 1 : 3);
    results[t][0] = zeros({40}).index_add(0, place, narrow_src);
    results[t][1] = zeros({5, 192}).index_add(0, row, wide_src);
    results[t][2] = zeros({40}).scatter_add(0, place, narrow_src);
  }
  set_num_threads(before);
  for (int i = 0; i < 3; ++i) CHECK(equal(results[0][i], results[1][i]));
  CHECK(equal(results[0][0], results[0][2]));
}
