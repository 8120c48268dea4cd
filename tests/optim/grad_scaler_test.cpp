// GradScaler: the order of its calls, overflow, growth, several optimizers, f16 training on the CPU.
#include <limits>

#include "tests/catch.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

Tensor parameter(double v) { return full({3}, v, {.requires_grad = true}); }
Tensor loss_of(const Tensor& p) { return (p * p).sum(); }

}  // namespace

TEST_CASE("a scaled step is the plain step; unscaling twice is harmless") {
  Tensor p = parameter(2), q = parameter(2);
  optim::SGD a({p}, {.lr = 0.1}), b({q}, {.lr = 0.1});
  optim::GradScaler scaler;
  scaler.scale(loss_of(p)).backward();
  CHECK(p.grad().equal(full({3}, 4.0 * 65536)));
  CHECK(scaler.unscale_(a));
  CHECK(p.grad().equal(full({3}, 4.0)));
  CHECK_FALSE(scaler.unscale_(a));
  CHECK(p.grad().equal(full({3}, 4.0)));
  const optim::StepResult r = scaler.step(a);
  CHECK((r.stepped && !r.skipped));
  CHECK_THROWS_WITH(scaler.step(a), Contains("step() twice"));
  CHECK_THROWS_WITH(scaler.unscale_(a), Contains("after step()"));
  scaler.update();
  CHECK_THROWS_WITH(scaler.update(), Contains("without a step()"));
  loss_of(q).backward();
  b.step();
  CHECK(p.equal(q));
}

TEST_CASE("inf or NaN anywhere skips the step and halves the scale; growth comes after the interval") {
  Tensor p = ones({100000}, {.requires_grad = true}), q = parameter(1);
  optim::SGD o({p, q}, {.lr = 0.1});
  optim::GradScaler scaler({.init_scale = 8, .growth_interval = 2});
  const auto step = [&](double bad, int64_t at) {
    o.zero_grad();
    scaler.scale(loss_of(p) + loss_of(q)).backward();
    if (at >= 0) p.grad().select(0, at).fill_(bad);
    const optim::StepResult r = scaler.step(o);
    scaler.update();
    return r.skipped;
  };
  for (const double bad : {kInf, -kInf, std::numeric_limits<double>::quiet_NaN()}) {
    const double before = scaler.get_scale();
    const Tensor was = p.detach().clone();
    CHECK(step(bad, bad > 0 ? 99999 : 12345));
    CHECK(p.equal(was));
    CHECK(scaler.get_scale() == before / 2);
  }
  CHECK_FALSE(step(0, -1));
  CHECK(scaler.growth_tracker() == 1);
  CHECK_FALSE(step(0, -1));
  CHECK(scaler.get_scale() == 2);
  CHECK(scaler.growth_tracker() == 0);
  scaler.update(64.0);
  CHECK(scaler.get_scale() == 64);
}

TEST_CASE("gradients that are still scaled can be neither clipped nor used; what the user has changed can") {
  Tensor p = parameter(2);
  optim::AdamW o({p}, {.lr = 0.1});
  optim::GradScaler scaler;
  scaler.scale(loss_of(p)).backward();
  CHECK_THROWS_WITH(nn::utils::clip_grad_norm_({p}, 1.0), Contains("clip_grad_norm_") && Contains("unscale_"));
  CHECK_THROWS_WITH(nn::utils::clip_grad_value_({p}, 1.0), Contains("unscale_"));
  CHECK_THROWS_WITH(o.step(), Contains("scaler.step(optimizer)"));
  scaler.unscale_(o);
  nn::utils::clip_grad_norm_({p}, 1.0);
  CHECK(p.grad().norm().item<double>() == Approx(1));
  CHECK(scaler.step(o).stepped);
  scaler.update();
  o.zero_grad();
  scaler.scale(loss_of(p)).backward();
  p.grad().div_(scaler.get_scale());  // by hand
  nn::utils::clip_grad_value_({p}, 1.0);
  loss_of(p).backward();  // a plain loss on top
  o.step();
}

TEST_CASE("several optimizers: each steps for itself, the scale follows all of them, and is that of backward") {
  Tensor p = parameter(1), q = parameter(1);
  optim::SGD a({p}, {.lr = 0.1}), b({q}, {.lr = 0.1});
  optim::GradScaler scaler({.init_scale = 16});
  scaler.scale(loss_of(p) + loss_of(q)).backward();
  p.grad().fill_(kInf);
  CHECK(scaler.step(a).skipped);
  CHECK(scaler.step(b).stepped);
  scaler.update();
  CHECK(scaler.get_scale() == 8);
  CHECK(q.detach().equal(full({3}, 0.8)));
}

TEST_CASE("a whole step with a scaler compiles: the bits of the eager one, cut where the host reads the flag") {
  const auto train = [](bool compiled) {
    Tensor p = parameter(2);
    optim::AdamW o({p}, {.lr = 0.1});
    optim::GradScaler scaler({.init_scale = 4, .growth_interval = 2});
    const auto step = [&](const Tensor& x) {
      o.zero_grad();
      scaler.scale((p * x).exp().sum()).backward();
      const bool skipped = scaler.step(o).skipped;
      scaler.update();
      return skipped;
    };
    auto fast = compile(step, {.on_fallback = OnFallback::silent});
    int skipped = 0;
    for (int i = 0; i < 6; ++i) {
      const Tensor x = full({3}, i == 2 ? kInf : 0.1 * i);
      skipped += compiled ? fast(x) : step(x);
    }
    CHECK(skipped == 1);
    return p.detach();
  };
  CHECK(train(true).equal(train(false)));
}

TEST_CASE("state_dict carries the scaler on; a disabled one does nothing; bf16 is said to need none") {
  Tensor p = parameter(1);
  optim::SGD o({p}, {.lr = 0.1});
  optim::GradScaler scaler({.init_scale = 4, .growth_interval = 3}), other;
  scaler.scale(loss_of(p)).backward();
  scaler.step(o);
  scaler.update();
  other.load_state_dict(scaler.state_dict());
  CHECK(other.state_dict() == scaler.state_dict());
  CHECK(other.growth_tracker() == 1);
  CHECK_THROWS_WITH(other.load_state_dict(Value::dict()), Contains("the state is empty"));
  optim::GradScaler off({.enabled = false});
  const Tensor loss = loss_of(p);
  CHECK(off.scale(loss).is_same(loss));
  CHECK_FALSE(off.unscale_(o));
  CHECK(off.step(o).stepped);
  off.update();
  CHECK(off.get_scale() == 1);
  CHECK(off.state_dict().size() == 0);
  CHECK(scaler.is_needed());
  {
    const Autocast guard(default_device(), DType::bf16);
    scaler.scale(loss_of(p));
  }
  CHECK_FALSE(scaler.is_needed());
  CHECK_THROWS_WITH(optim::GradScaler({.growth_factor = 1}), Contains("growth_factor must be above 1"));
  Tensor half = ones({2}, {.dtype = DType::f16}).set_requires_grad(true);
  optim::SGD h({half}, {.lr = 0.1});
  optim::GradScaler third({.init_scale = 2});
  third.scale(half.sum()).backward();
  CHECK_THROWS_WITH(third.unscale_(h), Contains("is f16"));
}

TEST_CASE("f16 autocast with a scaler trains where small gradients vanish without") {
  manual_seed(1);
  const Tensor x = randn({32, 8}), y = randn({32, 1}) * 1e-3;
  const auto weight_gradient = [&](bool scaled) {
    nn::Linear layer(8, 1, {.bias = false});
    layer.load_state_dict({{"weight", full({1, 8}, 1e-4)}});
    optim::SGD o(layer.parameters(), {.lr = 0.1});
    optim::GradScaler scaler({.enabled = scaled});
    Tensor loss;
    {
      const Autocast guard(default_device(), DType::f16);
      loss = (mse_loss(layer(x), y) * 1e-5);
    }
    scaler.scale(loss).backward();
    scaler.unscale_(o);
    return layer.weight.grad().abs().sum().item<double>();
  };
  CHECK(weight_gradient(false) == 0);
  CHECK(weight_gradient(true) > 0);
}

TEST_CASE("accumulated gradients are those of one large batch under autocast, clipping, scaler and schedule") {
  manual_seed(2);
  const Tensor x = randn({16, 8}), y = randint(0, 4, {16});
  const auto train = [&](int64_t parts, DType lower, bool on, bool scaled) {
    manual_seed(3);
    nn::Linear up(8, 16), down(16, 4);
    std::vector<Tensor> parameters = up.parameters();
    for (const Tensor& p : down.parameters()) parameters.push_back(p);
    optim::SGD o(parameters, {.lr = 0.5, .momentum = 0.9});
    optim::OneCycleLR schedule(o, {.max_lr = 0.5, .total_steps = 10});
    optim::GradScaler scaler({.init_scale = 256, .growth_interval = 2, .enabled = scaled});
    for (int step = 0; step < 6; ++step) {
      o.zero_grad();
      const int64_t n = 16 / parts;
      for (int64_t i = 0; i < parts; ++i) {
        Tensor loss;
        {
          const Autocast guard(default_device(), lower, {.enabled = on});
          loss = cross_entropy(down(up(x.slice(0, i * n, (i + 1) * n)).relu()), y.slice(0, i * n, (i + 1) * n));
        }
        scaler.scale(loss / static_cast<double>(parts)).backward();
      }
      scaler.unscale_(o);
      nn::utils::clip_grad_norm_(parameters, 0.5);
      nn::utils::clip_grad_value_(parameters, 0.2);
      schedule.step(scaler.step(o));
      scaler.update();
    }
    return nn::utils::parameters_to_vector(parameters).detach();
  };
  const Tensor whole = train(1, DType::bf16, false, false);
  CHECK(allclose(train(4, DType::bf16, false, false), whole, 1e-5, 1e-6));
  CHECK(allclose(train(4, DType::bf16, false, true), whole, 1e-5, 1e-6));
  CHECK(allclose(train(4, DType::bf16, true, false), train(1, DType::bf16, true, false), 0.05, 0.01));
  CHECK(allclose(train(4, DType::f16, true, true), train(1, DType::f16, true, true), 0.01, 0.002));
}
