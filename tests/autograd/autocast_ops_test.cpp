// Which class of ops a function belongs to under Autocast, one line each, and the cache of casts against the ways in
// which it could give a stale value, lose a gradient or keep memory.
#include <thread>

#include "core/allocator.h"
#include "tests/catch.h"
#include "tests/device.h"
#include "weft.h"

using namespace weft;

namespace {

Tensor of(DType dtype, const Dims& sizes) { return rand(sizes).add(0.1).mul(0.8).to(dtype); }

}  // namespace

TEST_CASE("lower precision: the inputs are cast down, whatever they are") {
  manual_seed(1);
  for (const DType lower : {DType::bf16, DType::f16})
    for (const DType given : {DType::f32, lower}) {
      const Autocast guard(default_device(), lower);
      const auto t = [&](const Dims& sizes) { return of(given, sizes); };
      CHECK(matmul(t({2, 3}), t({3, 2})).dtype() == lower);
      CHECK(mm(t({2, 3}), t({3, 2})).dtype() == lower);
      CHECK(bmm(t({1, 2, 3}), t({1, 3, 2})).dtype() == lower);
      CHECK(addmm(t({2, 2}), t({2, 3}), t({3, 2})).dtype() == lower);
      CHECK(baddbmm(t({1, 2, 2}), t({1, 2, 3}), t({1, 3, 2})).dtype() == lower);
      CHECK(addbmm(t({2, 2}), t({1, 2, 3}), t({1, 3, 2})).dtype() == lower);
      CHECK(matmul(t({2, 3}), t({3})).dtype() == lower);
      CHECK(prelu(t({2, 3}), t({1})).dtype() == lower);
      CHECK(linear(t({2, 3}), t({4, 3}), t({4})).dtype() == lower);
      CHECK(conv1d(t({1, 2, 5}), t({3, 2, 3})).dtype() == lower);
      CHECK(conv2d(t({1, 2, 5, 5}), t({3, 2, 3, 3})).dtype() == lower);
      CHECK(conv3d(t({1, 2, 4, 4, 4}), t({3, 2, 3, 3, 3})).dtype() == lower);
      CHECK(conv_transpose2d(t({1, 2, 4, 4}), t({2, 3, 3, 3})).dtype() == lower);
      CHECK(scaled_dot_product_attention(t({1, 1, 3, 4}), t({1, 1, 3, 4}), t({1, 1, 3, 4})).dtype() == lower);
    }
}

TEST_CASE("f32: losses and what needs the range are computed in f32") {
  manual_seed(2);
  for (const DType lower : {DType::bf16, DType::f16}) {
    const Autocast guard(default_device(), lower);
    const auto t = [&](const Dims& sizes) { return of(lower, sizes); };
    CHECK(mse_loss(t({4}), t({4})).dtype() == DType::f32);
    CHECK(l1_loss(t({4}), t({4})).dtype() == DType::f32);
    CHECK(smooth_l1_loss(t({4}), t({4})).dtype() == DType::f32);
    CHECK(huber_loss(t({4}), t({4})).dtype() == DType::f32);
    CHECK(binary_cross_entropy_with_logits(t({4}), t({4})).dtype() == DType::f32);
    CHECK(cross_entropy(t({2, 3}), randint(0, 3, {2})).dtype() == DType::f32);
    CHECK(nll_loss(t({2, 3}), randint(0, 3, {2})).dtype() == DType::f32);
    CHECK(kl_div(t({4}), t({4})).dtype() == DType::f32);
    CHECK(binary_cross_entropy(t({4}), t({4})).dtype() == DType::f32);
    CHECK(soft_margin_loss(t({4}), t({4})).dtype() == DType::f32);
    CHECK(hinge_embedding_loss(t({4}), t({4})).dtype() == DType::f32);
    CHECK(margin_ranking_loss(t({4}), t({4}), t({4})).dtype() == DType::f32);
    CHECK(cosine_embedding_loss(t({4, 3}), t({4, 3}), ones({4})).dtype() == DType::f32);
    CHECK(triplet_margin_loss(t({4, 3}), t({4, 3}), t({4, 3})).dtype() == DType::f32);
    CHECK(multi_margin_loss(t({2, 3}), randint(0, 3, {2})).dtype() == DType::f32);
    CHECK(multilabel_margin_loss(t({2, 3}), zeros({2, 3}, {.dtype = DType::i64})).dtype() == DType::f32);
    CHECK(poisson_nll_loss(t({4}), t({4})).dtype() == DType::f32);
    CHECK(prod(t({4})).dtype() == DType::f32);
    CHECK(t({4, 2}).prod({.dim = 0}).dtype() == DType::f32);
    CHECK(cdist(t({4, 2}), t({3, 2})).dtype() == DType::f32);
    CHECK(avg_pool3d(t({1, 1, 4, 4, 4}), {2, 2, 2}).dtype() == DType::f32);
    CHECK(adaptive_avg_pool3d(t({1, 1, 4, 4, 4}), {2, 2, 2}).dtype() == DType::f32);
    CHECK(avg_pool2d(t({1, 1, 4, 4}), {2, 2}).dtype() == lower);
    CHECK(multilabel_soft_margin_loss(t({2, 3}), t({2, 3})).dtype() == lower);
    CHECK(gaussian_nll_loss(t({4}), t({4}), t({4})).dtype() == lower);
  }
}

TEST_CASE("promote: to f32 where any input is f32, else in the lower precision; the rest takes what it gets") {
  manual_seed(3);
  const Autocast guard(default_device());
  const Tensor wide = of(DType::f32, {2, 2}), narrow = of(DType::bf16, {2, 2});
  CHECK(cat({wide, narrow}).dtype() == DType::f32);
  CHECK(cat({narrow, narrow}).dtype() == DType::bf16);
  CHECK(stack({narrow, wide}).dtype() == DType::f32);
  CHECK(stack({narrow, narrow}).dtype() == DType::bf16);
  CHECK(index_copy(wide, 0, zeros({1}, {.dtype = DType::i64}), narrow.slice(0, 0, 1)).dtype() == DType::f32);
  CHECK(index_copy(narrow, 0, zeros({1}, {.dtype = DType::i64}), narrow.slice(0, 0, 1)).dtype() == DType::bf16);
  CHECK((narrow + narrow).dtype() == DType::bf16);
  CHECK(gelu(narrow).dtype() == DType::bf16);
  CHECK(gelu(wide).dtype() == DType::f32);
  CHECK(of(DType::f64, {2}).dot(of(DType::f64, {2})).dtype() == DType::f64);
  CHECK(matmul(of(DType::f64, {2, 2}), of(DType::f64, {2, 2})).dtype() == DType::f64);
}

TEST_CASE("the cache: one cast per parameter and dtype, none of other tensors, nothing kept after the guard") {
  manual_seed(4);
  Tensor w = randn({64, 64}).set_requires_grad(true);
  const Tensor x = randn({64, 64});
  int64_t one_cast = -test::device_memory().allocated;
  {
    const Tensor cast = w.detach().to(DType::bf16);
    one_cast += test::device_memory().allocated;
  }
  const int64_t before = test::device_memory().allocated;
  {
    const Autocast guard(default_device());
    for (int i = 0; i < 8; ++i) linear(x, w);
    CHECK(test::device_memory().allocated == before + one_cast);  // x is no parameter
    {
      const Autocast inner(default_device(), DType::f16);
      linear(x, w);
      CHECK(test::device_memory().allocated == before + one_cast);  // replaced
    }
    const Autocast none(default_device(), DType::bf16, {.cache = false});
    linear(x, w.detach());
    CHECK(test::device_memory().allocated == before + one_cast);
  }
  CHECK(test::device_memory().allocated == before);
  {
    const Autocast guard(default_device(), DType::bf16, {.cache = false});
    linear(x, w);
    CHECK(test::device_memory().allocated == before);
  }
  const Autocast guard(default_device());
  const InferenceMode inference;
  linear(x, w);
  CHECK(test::device_memory().allocated == before);
}

TEST_CASE("the cache: a step between two passes of one guard, views of a parameter, and a parameter that is gone") {
  manual_seed(5);
  const Tensor x = randn({4, 4});
  Tensor w = randn({4, 4}).set_requires_grad(true);
  optim::SGD optimizer({w}, {.lr = 0.5});
  const Autocast guard(default_device());
  for (int i = 0; i < 3; ++i) {
    const Tensor y = linear(x, w), want = matmul(x.to(DType::bf16), w.detach().to(DType::bf16).t());
    CHECK(y.equal(want));
    optimizer.zero_grad();
    y.sum().backward();
    optimizer.step();
  }
  w.set_grad(Tensor());
  (linear(x, w.t()).sum() + linear(x, w).sum()).backward();
  const Tensor both = w.grad();
  w.set_grad(Tensor());
  linear(x, w).sum().backward();
  CHECK(w.grad().dtype() == DType::f32);
  CHECK_FALSE(both.equal(w.grad()));
  for (int i = 0; i < 3; ++i) {  // the memory of one may serve the next
    Tensor fresh = full({4, 4}, double(i)).set_requires_grad(true);
    CHECK(linear(ones({1, 4}), fresh).equal(full({1, 4}, 4.0 * i).to(DType::bf16)));
  }
}

TEST_CASE("the cache under checkpoint: NoGrad first, then a region, then backward outside of the guard") {
  manual_seed(6);
  const Tensor x = randn({4, 4}).set_requires_grad(true);
  Tensor w = randn({4, 4}).set_requires_grad(true);
  const auto run = [&](bool on) {
    w.set_grad(Tensor());
    Tensor loss;
    {
      const Autocast guard(default_device());
      {
        NoGrad off;
        linear(x, w);
      }
      const auto part = [&](const Tensor& t) { return linear(gelu(linear(t, w)), w); };
      loss = (on ? checkpoint(part, x) : part(x)).to(DType::f32).sum();
    }
    loss.backward();
    return w.grad();
  };
  const Tensor plain = run(false);
  CHECK(run(true).equal(plain));
}

TEST_CASE("threads: guards of several threads do not meet, shared parameters are cast in each, backward elsewhere") {
  manual_seed(7);
  const Tensor x = randn({8, 8});
  Tensor w = randn({8, 8}).set_requires_grad(true);
  const auto result = [&](DType dtype) {
    const Autocast guard(x.device(), dtype);
    return linear(x, w);
  };
  const Tensor bf16 = result(DType::bf16), f16 = result(DType::f16);
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 20; ++k) {
        const Tensor y = result(i % 2 == 0 ? DType::bf16 : DType::f16);
        right += y.equal(i % 2 == 0 ? bf16 : f16) && !is_autocast_enabled();
      }
    });
  for (auto& t : threads) t.join();
  CHECK(right == 80);
  const Tensor loss = f16.to(DType::f32).sum();
  std::thread([&] { loss.backward(); }).join();  // there nothing is cast by default
  const Tensor there = w.grad().clone();
  w.set_grad(Tensor());
  result(DType::f16).to(DType::f32).sum().backward();
  CHECK(there.equal(w.grad()));
}
