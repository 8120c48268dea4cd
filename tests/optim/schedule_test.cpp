// Schedulers beyond the trajectories that `weft check tests/golden/lr_scheduler` compares with PyTorch's.
#include "optim/schedule.h"
#include "compile/compile.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "optim/adam.h"
#include "optim/schedule_compose.h"
#include "optim/schedule_cycle.h"
#include "optim/schedule_plateau.h"
#include "optim/sgd.h"
#include "tests/catch.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {
Tensor parameter() { return ones({2}, {.requires_grad = true}); }
}  // namespace

TEST_CASE("the base rate is that before the first scheduler; rates changed by hand count") {
  optim::SGD o({parameter()}, {.lr = 1});
  optim::LinearLR warm(o, {.start_factor = 0.5, .total_iters = 2});
  CHECK(o.lr() == 0.5);
  optim::StepLR steps(o, 3, 0.1);
  CHECK(o.initial_lr(0) == 1);
  o.set_lr(0, 0.2);
  for (int i = 0; i < 3; ++i) steps.step();
  CHECK(o.lr() == Approx(0.02));
  CHECK(steps.last_lr()[0] == o.lr());
}

TEST_CASE("a skipped update is no step of the schedule") {
  optim::SGD o({parameter()}, {.lr = 1});
  optim::ExponentialLR s(o, 0.5);
  s.step({.skipped = true});
  CHECK(s.last_epoch() == 0);
  s.step({.stepped = true});
  CHECK(o.lr() == 0.5);
}

TEST_CASE("loading a schedule sets its rate, whatever is loaded first; a state that does not fit changes nothing") {
  optim::AdamW a({parameter()}, {.lr = 1}), b({parameter()}, {.lr = 1});
  const auto make = [](optim::Optimizer& o) {
    return std::make_unique<optim::SequentialLR>(
        o,
        optim::Schedulers{
            std::make_shared<optim::LinearLR>(o, optim::LinearLROptions{.total_iters = 4}),
            std::make_shared<optim::OneCycleLR>(o, optim::OneCycleLROptions{.max_lr = 0.5, .total_steps = 20})},
        std::vector<int64_t>{4});
  };
  auto one = make(a), two = make(b);
  for (int i = 0; i < 9; ++i) one->step();
  const Value optimizer = a.state_dict(), schedule = one->state_dict();
  SECTION("the schedule last") {
    b.load_state_dict(optimizer);
    two->load_state_dict(schedule);
  }
  SECTION("the optimizer last") {
    two->load_state_dict(schedule);
    b.load_state_dict(optimizer);
  }
  CHECK(b.lr() == a.lr());
  for (int i = 0; i < 5; ++i) one->step(), two->step();
  CHECK(b.lr() == a.lr());
  CHECK(b.momentum(0) == a.momentum(0));
  Value broken = schedule;
  broken.set("_last_lr", Value::list({1.0, 2.0}));
  CHECK_THROWS_WITH(two->load_state_dict(broken), Contains("2 saved") || Contains("of 2 groups"));
  broken = schedule;
  broken.set("_milestones", "four");
  CHECK_THROWS_AS(two->load_state_dict(broken), TypeError);
  CHECK(two->state_dict()["last_epoch"] == one->state_dict()["last_epoch"]);
  CHECK(b.lr() == a.lr());
}

TEST_CASE("schedules refuse what cannot be right") {
  optim::SGD o({parameter()}, {.lr = 1}), other({parameter()}, {.lr = 1});
  CHECK_THROWS_WITH(optim::StepLR(o, 0), Contains("step_size must be positive"));
  CHECK_THROWS_WITH(optim::LambdaLR(o, std::vector<optim::LrLambda>(2, [](int64_t) { return 1.0; })),
                    Contains("2 functions for 1 parameter groups"));
  CHECK_THROWS_WITH(optim::CyclicLR(o, {.base_lr = {0.1, 0.2}, .max_lr = 1}), Contains("2 values for 1"));
  CHECK(o.lr() == 1);
  optim::OneCycleLR cycle(o, {.max_lr = 1, .total_steps = 3});
  for (int i = 0; i < 3; ++i) cycle.step();
  CHECK_THROWS_WITH(cycle.step(), Contains("step 4, but total_steps is 3"));
  optim::ReduceLROnPlateau plateau(o);
  optim::Scheduler& base = plateau;
  CHECK_THROWS_WITH(base.step(), Contains("takes the metric"));
  const auto watch = std::make_shared<optim::ReduceLROnPlateau>(o);
  CHECK_THROWS_WITH(optim::ChainedScheduler({watch}), Contains("ReduceLROnPlateau"));
  const auto elsewhere = std::make_shared<optim::StepLR>(other, 1);
  CHECK_THROWS_WITH(optim::SequentialLR(o, {elsewhere}, {}), Contains("another optimizer"));
  CHECK_THROWS_WITH(optim::SequentialLR(other, {elsewhere}, {3}), Contains("1 milestones for 1 schedulers"));
  CHECK_THROWS_WITH(optim::ChainedScheduler({}), Contains("at least one"));
}

TEST_CASE("rates and momenta that change every step never start a compiled function over") {
  Tensor p = parameter();
  optim::AdamW o({p}, {.lr = 1e-3});
  optim::OneCycleLR schedule(o, {.max_lr = 0.1, .total_steps = 300});
  auto step = compile([&] {
    o.zero_grad();
    (p * p).sum().backward();
    o.step();
  });
  for (int i = 0; i < 10; ++i, schedule.step()) step();
  const auto recorded = step.stats().recorded;
  for (int i = 10; i < 300; ++i, schedule.step()) step();
  CHECK(step.stats().recorded == recorded);
}
