#include "core/ops/attention.h"

#include <cmath>
#include <limits>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "tests/catch.h"

using namespace weft;

namespace {

Tensor random(const Dims& sizes, DType dtype = DType::f64) { return empty(sizes, {.dtype = dtype}).normal_(); }

double distance(const Tensor& a, const Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return a.numel() == 0 ? 0 : a.sub(b).abs().amax().item().f64();
}

// Value, gradients and gradients of gradients against the composite of elementwise ops and products.
void compare(std::vector<Tensor> qkv, const AttentionOptions& o) {
  for (Tensor& t : qkv) t.set_requires_grad(true);
  const AttentionAttrs attrs{o.scale.value_or(1 / std::sqrt(static_cast<double>(qkv[0].size(-1)))), o.is_causal};
  const auto run = [&](bool composite) {
    const Tensor y = composite ? detail::composite_attention(qkv[0], qkv[1], qkv[2], o.attn_mask, attrs)
                               : scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], o);
    std::vector<Tensor> results{y};
    const auto first = grad({y.sin().sum()}, qkv, {.create_graph = true});
    Tensor total = first[0].sin().sum().add(first[1].cos().sum()).add(first[2].exp().sum());
    for (const Tensor& t : first) results.push_back(t);
    for (const Tensor& t : grad({total}, qkv)) results.push_back(t);
    return results;
  };
  const auto got = run(false), want = run(true);
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    REQUIRE(distance(got[i], want[i]) < 1e-10);
  }
}

}  // namespace

TEST_CASE("scaled_dot_product_attention: gradients of any order agree with the composite") {
  compare({random({2, 3, 5, 4}), random({2, 3, 7, 4}), random({2, 3, 7, 6})}, {});
  compare({random({2, 3, 9, 4}), random({2, 3, 9, 4}), random({2, 3, 9, 4})}, {.is_causal = true});
  compare({random({2, 4, 5, 4}), random({2, 2, 7, 4}), random({2, 2, 7, 6})}, {.scale = 0.3, .enable_gqa = true});
  compare({random({2, 2, 5, 4}), random({2, 2, 7, 4}), random({2, 2, 7, 6})}, {.attn_mask = random({5, 7})});
  compare({random({2, 2, 5, 4}), random({2, 2, 7, 4}), random({2, 2, 7, 6})},
          {.attn_mask = random({2, 1, 5, 7}).gt(0)});
}

TEST_CASE("scaled_dot_product_attention: shapes") {
  const Tensor q = random({2, 3, 5, 4}), k = random({2, 3, 7, 4}), v = random({2, 3, 7, 6});
  const Tensor y = scaled_dot_product_attention(q, k, v);
  REQUIRE(y.transpose(1, 2).is_contiguous());
  REQUIRE(distance(scaled_dot_product_attention(q[1], k[1], v[1]), y[1]) == 0);
  REQUIRE(distance(scaled_dot_product_attention(q[1][2], k[1][2], v[1][2]), y[1][2]) == 0);
  REQUIRE(distance(scaled_dot_product_attention(q.unsqueeze(0), k, v), y.unsqueeze(0)) == 0);
  REQUIRE(distance(scaled_dot_product_attention(q, k.narrow(0, 0, 1), v)[0], y[0]) == 0);
  const Tensor strided = q.transpose(2, 3).contiguous().transpose(2, 3);
  REQUIRE(distance(scaled_dot_product_attention(strided, k, v), y) == 0);
  REQUIRE(scaled_dot_product_attention(random({0, 3, 5, 4}), random({0, 3, 7, 4}), random({0, 3, 7, 6})).sizes() ==
          Dims{0, 3, 5, 6});
}

TEST_CASE("scaled_dot_product_attention: a mask with a gradient, rows without keys, dropped probabilities") {
  const Tensor q = random({1, 1, 3, 4}), k = random({1, 1, 5, 4}), v = random({1, 1, 5, 2});
  Tensor mask = random({3, 5}).set_requires_grad(true);
  const Tensor y = scaled_dot_product_attention(q, k, v, {.attn_mask = mask});
  REQUIRE(distance(y, scaled_dot_product_attention(q, k, v, {.attn_mask = mask.detach()})) < 1e-14);
  const Tensor g = grad({y.sum()}, {mask})[0];
  REQUIRE(g.sum({.dim = 1}).abs().amax().item().f64() < 1e-14);  // softmax does not see a shift of a row
  REQUIRE(g.abs().amax().item().f64() > 1e-3);
  Tensor none = ones({3, 5}, {.dtype = DType::bool_});
  none[1].fill_(false);
  Tensor query = q.clone().set_requires_grad(true);
  const Tensor masked = scaled_dot_product_attention(query, k, v, {.attn_mask = none});
  REQUIRE(masked.select(2, 1).abs().amax().item().f64() == 0);
  REQUIRE(grad({masked.sum()}, {query})[0].select(2, 1).abs().amax().item().f64() == 0);
  const Tensor ones_v = ones({1, 1, 400, 1}, {.dtype = DType::f64});
  const Tensor dropped =
      scaled_dot_product_attention(random({1, 1, 50, 4}), random({1, 1, 400, 4}), ones_v, {.dropout_p = 0.25});
  REQUIRE(dropped.mean().item().f64() == Approx(1).epsilon(0.05));
  REQUIRE(distance(dropped, ones_like(dropped)) > 1e-3);
}

TEST_CASE("scaled_dot_product_attention refuses what does not fit") {
  const Tensor q = random({2, 3, 5, 4}), k = random({2, 3, 7, 4}), v = random({2, 3, 7, 6});
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, v, v), Error);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k, q), Error);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k, v.to(DType::f32)), TypeError);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q.to(DType::i64), k.to(DType::i64), v.to(DType::i64)), TypeError);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k, v, {.attn_mask = random({5, 7}), .is_causal = true}), Error);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k, v, {.attn_mask = random({5, 6})}), Error);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k, v, {.attn_mask = ones({5, 7}, {.dtype = DType::i64})}),
                    TypeError);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k.narrow(1, 0, 2), v.narrow(1, 0, 2)), Error);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k.narrow(1, 0, 2), v.narrow(1, 0, 2), {.enable_gqa = true}), Error);
  REQUIRE_THROWS_AS(scaled_dot_product_attention(q, k, v, {.dropout_p = 1.5}), Error);
}
