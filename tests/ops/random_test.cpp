// Random numbers: the published Philox vectors, the same stream for any number of threads, moments, and every refusal.
#include "core/ops/random.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/dropout.h"
#include "core/ops/philox.h"
#include "core/ops/pointwise_api.h"
#include "core/parallel.h"
#include "tests/catch.h"

using namespace weft;

namespace {
double average(const Tensor& x) { return x.to(DType::f64).mean().item<double>(); }
double deviation(const Tensor& x) { return x.to(DType::f64).std().item<double>(); }
}  // namespace

TEST_CASE("philox: the vectors of Random123") {
  // kat_vectors: philox4x32 10 rounds; counters and keys of zeros, of ones, of the digits of pi.
  rng::Words w = rng::philox(0, 0, 0);
  CHECK((w.w[0] == 0x6627e8d5 && w.w[1] == 0xe169c58d && w.w[2] == 0xbc57ac4c && w.w[3] == 0x9b00dbd8));
  w = rng::philox(~0ull, ~0ull, ~0ull);
  CHECK((w.w[0] == 0x408f276d && w.w[1] == 0x41c83b0e && w.w[2] == 0xa20bc7c6 && w.w[3] == 0x6d5451fd));
  w = rng::philox(0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull);
  CHECK((w.w[0] == 0xd16cfe09 && w.w[1] == 0x94fdcceb && w.w[2] == 0x5001e420 && w.w[3] == 0x24126ea1));
}

TEST_CASE("random: the documented place of every word") {
  Generator g(5);
  g.set_state({5, 1000});
  Tensor x = empty({200}).uniform_(0, 1, &g).cpu();
  CHECK(g.get_state() == Generator::State{5, 1000 + 4 * 16});
  for (int64_t e : {0, 15, 16, 63, 64, 150, 199})
    CHECK(x.data<float>()[e] ==
          rng::unit(rng::philox(5, 1000 + static_cast<uint64_t>(e / 64 * 16 + e % 16)).w[e % 64 / 16]));
  g.set_state({5, 1000});
  Tensor y = empty({100}, {.dtype = DType::f64}).uniform_(0, 1, &g).cpu();
  for (int64_t e : {0, 17, 40, 99}) {
    rng::Words w = rng::philox(5, 1000 + static_cast<uint64_t>(e / 32 * 16 + e % 16));
    int k = static_cast<int>(e % 32 / 16) * 2;
    CHECK(y.data<double>()[e] == rng::unit(static_cast<rng::u64>(w.w[k]) << 32 | w.w[k + 1]));
  }
}

TEST_CASE("random: seeds, states, layouts and threads") {
  const int before = num_threads();
  manual_seed(7);
  Generator::State start = default_generator().get_state();
  Tensor a = randn({300000}), b = randint(1000, {70000}), c = dropout(ones({100000}), 0.3);
  default_generator().set_state(start);
  set_num_threads(before == 1 ? 3 : 1);
  CHECK(equal(a, randn({300000})));
  CHECK(equal(b, randint(1000, {70000})));
  CHECK(equal(c, dropout(ones({100000}), 0.3)));
  set_num_threads(before);
  CHECK_FALSE(equal(a, randn({300000})));
  // Elements are numbered in row-major order whatever the strides.
  Generator g(1), h(1);
  Tensor t = empty({50, 70}).t().normal_(0, 1, &g);
  CHECK(equal(t, empty({70, 50}).normal_(0, 1, &h)));
}

TEST_CASE("random: moments and ranges") {
  manual_seed(11);
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    INFO(name(t));
    Tensor u = rand({100000}, {.dtype = t}), z = randn({100000}, {.dtype = t});
    CHECK(u.min().item<double>() >= 0);
    CHECK(u.max().item<double>() < 1);
    CHECK(average(u) == Approx(0.5).margin(0.005));
    CHECK(average(z) == Approx(0).margin(0.015));
    CHECK(deviation(z) == Approx(1).margin(0.01));
    CHECK(average(z.to(DType::f64).pow(4)) == Approx(3).margin(0.12));
    CHECK(average(z.gt(1.96).to(t)) == Approx(0.025).margin(0.003));
  }
  Tensor e = empty({100000}).exponential_(2);
  CHECK(average(e) == Approx(0.5).margin(0.01));
  CHECK(e.gt(0).all().item<bool>());
  CHECK(average(empty({100000}).log_normal_(0, 0.5)) == Approx(std::exp(0.125)).margin(0.02));
  CHECK(average(empty({100000}).cauchy_(1, 2).lt(1).to(DType::f32)) == Approx(0.5).margin(0.01));
  Tensor geometric = empty({100000}).geometric_(0.25);
  CHECK(average(geometric) == Approx(4).margin(0.06));
  CHECK(geometric.min().item<float>() == 1);
  for (double rate : {0.5, 4.0, 60.0}) {
    Tensor p = poisson(full({50000}, rate));
    CHECK(average(p) == Approx(rate).epsilon(0.02));
    CHECK(deviation(p) == Approx(std::sqrt(rate)).epsilon(0.02));
  }
  Tensor wide = empty({1000}, {.dtype = DType::i64}).random_(-3, int64_t{1} << 40);
  CHECK(wide.min().item<int64_t>() >= -3);
  CHECK(wide.max().item<int64_t>() > int64_t{1} << 38);
  Tensor p = randperm(1000);
  CHECK(equal(std::get<0>(p.sort()), arange(1000)));
  CHECK_FALSE(equal(p, arange(1000)));
  Tensor drawn = multinomial(tensor({0, 1, 3}), 40000, true);
  CHECK(average(drawn.eq(2).to(DType::f32)) == Approx(0.75).margin(0.02));
  CHECK(drawn.min().item<int64_t>() == 1);
  CHECK(equal(std::get<0>(multinomial(ones({2, 9}), 9).sort()), arange(9).expand({2, 9})));
  CHECK(equal(bernoulli(tensor({0, 1, 1, 0})), tensor({0, 1, 1, 0})));
  CHECK(average(normal(full({50000}, 3.0), full({}, 2.0))) == Approx(3).margin(0.05));
}

TEST_CASE("dropout: scale, gradient by the same mask, edges") {
  manual_seed(2);
  Tensor x = full({100000}, 2.0, {.requires_grad = true});
  Tensor y = dropout(x, 0.25);
  CHECK(average(y.eq(0).to(DType::f32)) == Approx(0.25).margin(0.01));
  y.sum().backward();
  CHECK(equal(x.grad().mul(2), y.detach()));
  CHECK(dropout(x, 0.5, false).is_same(x));
  CHECK(dropout(x, 0).is_same(x));
  CHECK(equal(dropout(tensor({1, NAN}), 1).isnan(), tensor({0, 1}).to(DType::bool_)));
  Tensor channels = dropout2d(ones({20, 30, 2, 3}), 0.5);
  CHECK(equal(channels.amax({.dim = {2, 3}}), channels.amin({.dim = {2, 3}})));
  CHECK(equal(rrelu(tensor({-8, 2}), 0.25, 0.25, true), tensor({-2, 2})));
  Tensor z = alpha_dropout(randn({200000}), 0.2, true);
  CHECK(average(z) == Approx(0).margin(0.02));
  CHECK(deviation(z) == Approx(1).margin(0.02));
}

TEST_CASE("random: errors") {
  Tensor x = zeros({3});
  CHECK_THROWS_AS(dropout(x, 1.5), Error);
  CHECK_THROWS_AS(dropout(x, -0.1), Error);
  CHECK_THROWS_AS(x.normal_(0, -1), Error);
  CHECK_THROWS_AS(x.uniform_(1, 0), Error);
  CHECK_THROWS_AS(x.bernoulli_(2), Error);
  CHECK_THROWS_AS(x.geometric_(0), Error);
  CHECK_THROWS_AS(x.exponential_(0), Error);
  CHECK_THROWS_AS(randint(3, 3, {2}), Error);
  CHECK_THROWS_AS(x.to(DType::u8).random_(0, 300), Error);
  CHECK_THROWS_AS(randperm(-1), Error);
  CHECK_THROWS_AS(bernoulli(tensor({1.5})), Error);
  CHECK_THROWS_AS(poisson(tensor({-1.0})), Error);
  CHECK_THROWS_AS(multinomial(tensor({0.0, 0.0}), 1), Error);
  CHECK_THROWS_AS(multinomial(tensor({1.0, 0.0}), 2), Error);
  CHECK_THROWS_AS(arange(3).normal_(), TypeError);
}
