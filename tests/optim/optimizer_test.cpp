// Updates against the formulas written out, groups, gradients that are missing, states that do not fit.
#include <cmath>

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/thread_state.h"
#include "optim/adam.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "tests/catch.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

Tensor parameter(std::initializer_list<double> v) { return tensor(v, {.dtype = DType::f64}).set_requires_grad(true); }
double first(const Tensor& t) { return t.detach().flatten().select(0, 0).item<double>(); }
void give(const Tensor& p, double g) { const_cast<Tensor&>(p).set_grad(full_like(p.detach(), g)); }

}  // namespace

TEST_CASE("SGD with momentum, dampening-free nesterov and weight decay") {
  Tensor p = parameter({1.0, -2.0});
  optim::SGD o({p}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true});
  double x = 1, buffer = 0;
  for (int step = 0; step < 5; ++step) {
    const double g = 0.5 + step, decayed = g + 0.01 * x;
    buffer = step == 0 ? decayed : 0.9 * buffer + decayed;
    x -= 0.1 * (decayed + 0.9 * buffer);
    give(p, g);
    o.step();
    CHECK(first(p) == Approx(x).epsilon(1e-13));
  }
}

TEST_CASE("Adam adds the decay to the gradient, AdamW to the step") {
  for (bool decoupled : {false, true}) {
    CAPTURE(decoupled);
    Tensor p = parameter({0.7});
    std::unique_ptr<optim::Optimizer> o;
    if (decoupled)
      o = std::make_unique<optim::AdamW>(std::vector<Tensor>{p}, optim::AdamWOptions{.lr = 0.01, .weight_decay = 0.1});
    else
      o = std::make_unique<optim::Adam>(std::vector<Tensor>{p}, optim::AdamOptions{.lr = 0.01, .weight_decay = 0.1});
    double x = 0.7, m = 0, v = 0;
    for (int t = 1; t <= 6; ++t) {
      double g = std::sin(t);
      give(p, g);
      o->step();
      if (decoupled)
        x *= 1 - 0.01 * 0.1;
      else
        g += 0.1 * x;
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      x -= 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
      CHECK(first(p) == Approx(x).epsilon(1e-12));
    }
  }
}

TEST_CASE("parameters without a gradient stay, and zero_grad drops or zeroes") {
  Tensor a = parameter({1}), b = parameter({1});
  optim::SGD o({a, b}, {.lr = 1});
  give(a, 1);
  o.step();
  CHECK(first(a) == 0);
  CHECK(first(b) == 1);
  o.zero_grad();
  CHECK_FALSE(a.grad().defined());
  give(a, 1);
  Tensor held = a.grad();
  o.zero_grad(false);
  CHECK(a.grad().is_same(held));
  CHECK(first(held) == 0);
}

TEST_CASE("a state loads into a fresh optimizer and goes on with the same bits") {
  Tensor p = parameter({0.3, 0.4}), q = parameter({0, 0});
  optim::AdamW one({p}, {.lr = 0.02}), two({q}, {.lr = 0.5});
  for (int t = 0; t < 3; ++t) {
    give(p, 0.1 * t - 0.05);
    one.step();
  }
  {
    NoGrad guard;
    q.copy_(p);
  }
  two.load_state_dict(one.state_dict());
  CHECK(two.lr() == 0.02);
  for (int t = 0; t < 3; ++t) {
    give(p, 0.2);
    give(q, 0.2);
    one.step();
    two.step();
    CHECK(equal(p.detach(), q.detach()));
  }
}

TEST_CASE("a state as PyTorch may write it: parameters numbered otherwise, a learning rate in a tensor") {
  Tensor p = parameter({1}), q = parameter({2, 3});
  optim::SGD o({p, q}, {.lr = 1, .momentum = 0.5});
  Value state = o.state_dict();
  Value& group = state.mutable_at("param_groups").mutable_at(0);
  group.set("params", Value::list({4, 2}));
  group.set("lr", scalar_tensor(0.25));
  state.set("state", {{2, {{"momentum_buffer", full({2}, 7.0)}}}, {4, {{"momentum_buffer", Value()}}}});
  o.load_state_dict(state);
  CHECK(o.lr() == 0.25);
  const Value back = o.state_dict();
  CHECK_FALSE(back["state"].contains(0));
  CHECK(first(back["state"][1]["momentum_buffer"].as_tensor()) == 7);
}

TEST_CASE("optimizers refuse what cannot be right, in one line") {
  Tensor p = parameter({1}), plain = ones({1}), other = parameter({1, 2});
  CHECK_THROWS_AS(optim::SGD({p}, {.lr = -1}), Error);
  CHECK_THROWS_AS(optim::SGD({p, p}, {.lr = 1}), Error);
  CHECK_THROWS_AS(optim::SGD({p * 2}, {.lr = 1}), Error);
  CHECK_THROWS_AS(optim::SGD({Tensor()}, {.lr = 1}), Error);
  optim::AdamW one({p}, {.lr = 1}), two({other}, {.lr = 1}), three({parameter({1}), parameter({2})}, {.lr = 1});
  give(p, 1);
  one.step();
  CHECK_THROWS_AS(two.load_state_dict(one.state_dict()), Error);
  CHECK_THROWS_AS(three.load_state_dict(one.state_dict()), Error);
}

TEST_CASE("schedules") {
  Tensor p = parameter({1});
  SECTION("steps") {
    optim::SGD o({p}, {.lr = 1});
    optim::StepLR s(o, 2, 0.1);
    std::vector<double> seen;
    for (int i = 0; i < 5; ++i, s.step()) seen.push_back(o.lr());
    CHECK(seen[1] == 1);
    CHECK(seen[2] == Approx(0.1));
    CHECK(seen[4] == Approx(0.01));
  }
  SECTION("warm-up, half a cosine, then constant") {
    optim::SGD o({p}, {.lr = 2});
    optim::CosineWithWarmup s(o, {.warmup_steps = 4, .total_steps = 12, .min_factor = 0.1});
    double top = 0, last = 0;
    for (int i = 0; i <= 20; ++i, s.step()) {
      top = std::max(top, o.lr());
      last = o.lr();
      if (i == 8) CHECK(o.lr() == Approx(2 * (0.1 + 0.9 * 0.5)));
    }
    CHECK(top == Approx(2));
    CHECK(last == Approx(0.2));
  }
}
