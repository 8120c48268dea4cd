// Autocast: which op runs in which dtype, the cache of casts, gradients, nesting, threads.
#include <thread>

#include "tests/catch.h"
#include "weft.h"

using namespace weft;

TEST_CASE("Autocast lowers products, keeps losses in f32 and leaves the rest alone") {
  manual_seed(1);
  const Tensor x = randn({4, 8}), w = randn({6, 8}), b = randn({6});
  const Autocast guard(default_device());
  CHECK(is_autocast_enabled());
  CHECK(get_autocast_dtype() == DType::bf16);
  const Tensor y = linear(x, w, b);
  CHECK(y.dtype() == DType::bf16);
  CHECK(matmul(x, w.t()).dtype() == DType::bf16);
  CHECK(mm(x, w.t()).dtype() == DType::bf16);
  CHECK(bmm(x.unsqueeze(0), w.t().unsqueeze(0)).dtype() == DType::bf16);
  CHECK(conv1d(randn({1, 3, 9}), randn({2, 3, 3})).dtype() == DType::bf16);
  const Tensor q = randn({1, 2, 5, 8});
  CHECK(scaled_dot_product_attention(q, q, q).dtype() == DType::bf16);
  CHECK(cross_entropy(y, randint(0, 6, {4})).dtype() == DType::f32);
  CHECK(mse_loss(y, y.detach()).dtype() == DType::f32);
  CHECK(x.exp().dtype() == DType::f32);
  CHECK(y.exp().dtype() == DType::bf16);
  CHECK((x + linear(x, randn({8, 8}))).dtype() == DType::f32);  // bf16 meets f32: by promotion
  CHECK(linear(x.to(DType::f64), w.to(DType::f64)).dtype() == DType::f64);
}

TEST_CASE("Autocast computes what casts by hand compute, with f32 gradients for f32 parameters") {
  manual_seed(2);
  Tensor x = randn({4, 8}), w = randn({6, 8}).set_requires_grad(true);
  Tensor loss;
  {
    const Autocast guard(default_device());
    loss = linear(x, w).square().sum();
  }
  loss.backward();
  const Tensor v = w.detach().set_requires_grad(true);
  const Tensor by_hand = linear(x.to(DType::bf16), v.to(DType::bf16)).square().sum();
  by_hand.backward();
  CHECK(loss.dtype() == DType::bf16);
  CHECK(loss.to(DType::f32).equal(by_hand.to(DType::f32)));
  CHECK(w.grad().dtype() == DType::f32);
  CHECK(w.grad().equal(v.grad()));
}

TEST_CASE("losses over classes read halves under Autocast, with the bits of a cast to f32") {
  manual_seed(7);
  const Tensor logits = randn({6, 5}).to(DType::bf16), target = tensor(std::vector<int64_t>{0, 4, 2, -100, 1, 3});
  const Tensor weight = rand({5});
  const bool logs = GENERATE(false, true);
  const Reduction reduction = GENERATE(as<std::string>{}, "none", "mean", "sum");
  const double smoothing = logs ? 0.0 : GENERATE(0.0, 0.1);
  auto loss_of = [&](const Tensor& x) {
    return logs ? nll_loss(x, target, {.weight = weight, .reduction = reduction})
                : cross_entropy(x, target, {.weight = weight, .reduction = reduction, .label_smoothing = smoothing});
  };
  const Tensor x = logits.clone().set_requires_grad(true), by_hand = logits.clone().set_requires_grad(true);
  const Tensor expected = loss_of(by_hand.to(DType::f32));
  Tensor loss;
  {
    const Autocast guard(default_device());
    loss = loss_of(x);
  }
  CHECK(loss.dtype() == DType::f32);
  CHECK(loss.equal(expected));
  const Tensor twice = grad({loss.sum()}, {x}, {.retain_graph = true, .create_graph = true})[0];
  const Tensor expected_twice = grad({expected.sum()}, {by_hand}, {.retain_graph = true, .create_graph = true})[0];
  CHECK(twice.dtype() == DType::bf16);
  CHECK(twice.equal(expected_twice));
  loss.sum().backward();
  expected.sum().backward();
  CHECK(x.grad().dtype() == DType::bf16);
  CHECK(x.grad().equal(by_hand.grad()));
}

TEST_CASE("backward inside of the guard gives the gradients of backward outside") {
  manual_seed(3);
  Tensor x = randn({4, 8}), w = randn({6, 8}).set_requires_grad(true), u = randn({5, 6}).set_requires_grad(true);
  auto run = [&](bool inside) {
    w.set_grad(Tensor()), u.set_grad(Tensor());
    Tensor loss;
    {
      const Autocast guard(default_device());
      loss = cross_entropy(linear(gelu(linear(x, w)), u), zeros({4}, {.dtype = DType::i64}));
      if (inside) loss.backward();
    }
    if (!inside) loss.backward();
    return std::pair{w.grad().clone(), u.grad().clone()};
  };
  const auto [w1, u1] = run(true);
  const auto [w2, u2] = run(false);
  CHECK(w1.equal(w2));
  CHECK(u1.equal(u2));
}

TEST_CASE("a parameter is cast once, again when it changed, and records its gradient though NoGrad came first") {
  manual_seed(4);
  Tensor x = randn({2, 3}), w = randn({3, 3}).set_requires_grad(true);
  const Autocast guard(default_device());
  {
    NoGrad off;
    linear(x, w);
  }
  const Tensor first = linear(x, w);
  first.sum().backward();
  REQUIRE(w.grad().defined());
  {
    NoGrad off;
    w.mul_(2);
  }
  const Tensor second = linear(x, w);
  CHECK(second.to(DType::f32).equal(first.to(DType::f32) * 2));  // not the stale cast
  w.set_data(zeros({3, 3}));
  CHECK(linear(x, w).to(DType::f32).equal(zeros({2, 3})));
}

TEST_CASE("guards nest, can be disabled inside, and belong to their thread") {
  const Tensor x = ones({2, 2});
  CHECK_FALSE(is_autocast_enabled());
  {
    const Autocast outer(default_device(), DType::bf16);
    {
      const Autocast inner(default_device(), DType::f16);
      CHECK(mm(x, x).dtype() == DType::f16);
    }
    CHECK(mm(x, x).dtype() == DType::bf16);
    {
      const Autocast off(default_device(), DType::bf16, {.enabled = false});
      CHECK(mm(x, x).dtype() == DType::f32);
    }
    DType elsewhere = DType::bf16;
    std::thread([&] { elsewhere = mm(x, x).dtype(); }).join();
    CHECK(elsewhere == DType::f32);
  }
  CHECK(mm(x, x).dtype() == DType::f32);
}

TEST_CASE("a module trains under Autocast, recurrent layers and convolutions included") {
  manual_seed(5);
  nn::LSTM lstm(4, 6);
  nn::Conv2d conv(2, 3, 3);
  const Tensor sequence = randn({5, 2, 4}), image = randn({1, 2, 6, 6});
  Tensor loss;
  {
    const Autocast guard(default_device());
    const Tensor y = lstm(sequence).first;
    CHECK(y.dtype() == DType::bf16);
    loss = mse_loss(y, zeros(y.sizes())) + mse_loss(conv(image), ones({1, 3, 4, 4}));
  }
  loss.backward();
  for (nn::Module* m : {static_cast<nn::Module*>(&lstm), static_cast<nn::Module*>(&conv)})
    for (const Tensor& p : m->parameters()) {
      REQUIRE(p.grad().defined());
      CHECK(p.grad().dtype() == DType::f32);
    }
}

TEST_CASE("in-place forms and out= are not cast; dtypes that are no lower precision are refused") {
  const Autocast guard(default_device());
  Tensor c = zeros({2, 2});
  addmm_(c, ones({2, 2}), ones({2, 2}));
  CHECK(c.dtype() == DType::f32);
  CHECK(c.equal(full({2, 2}, 2.0)));
  CHECK_THROWS_WITH(Autocast(default_device(), DType::f32), Catch::Contains("bf16 or f16, got f32"));
}
