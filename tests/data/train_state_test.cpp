#include "data/train_state.h"

#include "core/error.h"
#include "data/serialize.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"
#include "weft.h"

using namespace weft;
using namespace weft::test;

namespace {

/// A training run with everything that has a state: dropout draws random numbers, the schedule counts.
struct Run {
  nn::Sequential model{nn::Linear{4, 8}, nn::Dropout{0.3}, nn::Linear{8, 2}};
  optim::AdamW optimizer{model.parameters(), {.lr = 1e-2}};
  optim::StepLR schedule{optimizer, 3, 0.5};
  nn::AveragedModel<nn::Sequential> average{model, {.ema_decay = 0.9}};
  MeanMetric mean;
  EarlyStopping stopping;
  int64_t step = 0;
  double lowest = 1e9;
  std::string note = "none";
  bool flag = false;
  Value history = Value::list();
  TrainState state;

  Run() {
    state.add("model_state_dict", model).add("optimizer_state_dict", optimizer).add("scheduler", schedule);
    state.add("ema", average).add("rng", default_generator()).add("mean", mean).add("stopping", stopping);
    state.add("step", step).add("lowest", lowest).add("note", note).add("flag", flag).add("history", history);
  }
  void train(int64_t until) {
    for (; step < until; ++step) {
      const Tensor x = randn({16, 4}), y = x.narrow(1, 0, 2);
      const Tensor loss = mse_loss(model(x), y);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
      schedule.step();
      average.update_parameters(model);
      const auto v = loss.item<double>();
      mean.update(v);
      lowest = std::min(lowest, v);
      stopping.update(v);
      history.mutable_list().push_back(v);
      note = "step " + std::to_string(step);
      flag = step % 2 == 1;
    }
  }
  /// All of the state as bytes of a file.
  std::string bytes(const TemporaryFolder& folder) const {
    state.save(folder.file("bytes.pt"));
    return read_all(folder.file("bytes.pt"));
  }
};

}  // namespace

TEST_CASE("TrainState: a run that stops at any step goes on with the same bits") {
  const TemporaryFolder folder;
  manual_seed(5);
  Run whole;
  whole.train(9);
  const std::string want = whole.bytes(folder);
  for (const int64_t at : {1, 4, 8}) {
    CAPTURE(at);
    manual_seed(5);
    Run first;
    first.train(at);
    first.state.save(folder.file("last.pt"));
    manual_seed(77);
    Run second;
    second.train(2);  // whatever was there is replaced
    second.state.load(folder.file("last.pt"));
    second.train(9);
    CHECK(second.bytes(folder) == want);
  }
}

TEST_CASE("TrainState: all or nothing, one error that names everything") {
  const TemporaryFolder folder;
  manual_seed(5);
  Run run;
  run.train(2);
  Value good = snapshot(run.state.state_dict());
  run.train(3);
  const std::string before = run.bytes(folder);

  Value bad = good;
  bad.mutable_dict().erase("ema");
  bad.set("extra", 1);
  CHECK(error_of([&] { run.state.load_state_dict(bad); }) ==
        "TrainState: the state does not fit; nothing was loaded:\n  missing: ema\n  unexpected: 'extra'");
  CHECK(run.bytes(folder) == before);

  bad = good;
  bad.set("note", 7);
  bad.set("mean", {{"sum", 1.0}});
  const std::string text = error_of([&] { run.state.load_state_dict(bad); });
  INFO(text);
  CHECK(text.find("\n  note: note: expects a str, got int 7") != std::string::npos);
  CHECK(text.find("\n  mean: ") != std::string::npos);
  CHECK(run.bytes(folder) == before);

  run.state.load_state_dict(good);
  CHECK(run.step == 2);
  good.set("extra", 1);
  run.state.load_state_dict(good, {"extra"});
  CHECK_THROWS_AS(run.state.load_state_dict(Value(3)), TypeError);
  CHECK(error_of([&] { run.state.add("step", run.step); }) == "TrainState: two parts are named \"step\"; rename one");
  CHECK(error_of([&] { run.state.add("", run.step); }) == "TrainState: a part needs a name; give it one");
}
