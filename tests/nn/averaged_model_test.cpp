#include "nn/averaged_model.h"

#include "core/error.h"
#include "core/thread_state.h"
#include "nn/nn.h"
#include "tests/catch.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

void set(const Tensor& p, double v) {
  NoGrad guard;
  const_cast<Tensor&>(p).detach().fill_(v);
}
double first(const Tensor& t) { return t.detach().flatten().select(0, 0).item<double>(); }

}  // namespace

TEST_CASE("AveragedModel: exponential and plain means, the first update copies") {
  for (const bool ema : {true, false}) {
    CAPTURE(ema);
    nn::Sequential model{nn::Linear{3, 2}, nn::BatchNorm1d{2}};
    model.to(DType::f64);
    nn::AveragedModel average(model, {.ema_decay = ema ? std::optional(0.9) : std::nullopt});
    const Tensor weight = model.parameters()[0], running = model.buffers()[0];
    double want = 0, sum = 0;
    for (int i = 0; i < 6; ++i) {
      const double v = i * i + 1;
      set(weight, v);
      set(running, -v);
      average.update_parameters(model);
      sum += v;
      want = ema ? (i == 0 ? v : 0.9 * want + 0.1 * v) : sum / (i + 1);
      CHECK(first(average.module.parameters()[0]) == Approx(want).epsilon(1e-14));
      CHECK(first(average.module.buffers()[0]) == -v);  // copied
      CHECK(average.n_averaged.item<int64_t>() == i + 1);
    }
    CHECK(first(weight) == 26);
    CHECK_FALSE(average.module.parameters()[0].requires_grad());
  }
}

TEST_CASE("AveragedModel: buffers too, integers copied; states have PyTorch's names") {
  nn::Sequential model{nn::Linear{3, 2}, nn::BatchNorm1d{2}};
  nn::AveragedModel average(model, {.ema_decay = 0.5, .use_buffers = true});
  for (const double v : {2.0, 4.0}) {
    set(model.buffers()[0], v);
    set(model.buffers()[2], v);
    average.update_parameters(model);
  }
  CHECK(first(average.module.buffers()[0]) == 3);
  CHECK(first(average.module.buffers()[2]) == 4);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : average.state_dict()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"n_averaged", "module.0.weight", "module.0.bias", "module.1.weight",
                                          "module.1.bias", "module.1.running_mean", "module.1.running_var",
                                          "module.1.num_batches_tracked"});
  nn::AveragedModel other(model, {.ema_decay = 0.5, .use_buffers = true});
  other.load_state_dict(average.state_dict());
  CHECK(other.n_averaged.item<int64_t>() == 2);
  average.module.eval();
  other.module.eval();
  const Tensor x = randn({4, 3});
  CHECK(equal(average(x), other(x)));
}

TEST_CASE("AveragedModel: errors") {
  const nn::Sequential model{nn::Linear{3, 2}};
  CHECK_THROWS_WITH((nn::AveragedModel(model, {.ema_decay = 1.5})),
                    "AveragedModel: ema_decay must lie in [0, 1], got 1.5");
  nn::AveragedModel average(model);
  CHECK_THROWS_WITH(average.update_parameters(nn::Sequential{nn::Linear{4, 2}}), Contains("\"0.weight\" [2, 4]"));
  CHECK_THROWS_WITH(average.update_parameters(nn::Sequential{}), Contains("has 0 tensors, the average 2"));
}
