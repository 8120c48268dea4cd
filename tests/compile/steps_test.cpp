// Whole training steps, compiled: a hundred of them have the bits of eager ones with every feature of training, and
// are a few compilations.
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>

#include "autograd/autograd.h"
#include "compile/compile.h"
#include "core/error.h"
#include "tests/catch.h"
#include "tests/compile/small_models.h"
#include "tests/environment.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

constexpr int64_t kSteps = 100, kMicro = 4;
constexpr CompileMode kModes[] = {CompileMode::default_, CompileMode::reduce_overhead, CompileMode::max_autotune};

struct Features {
  const char* name;  ///< begins with + where all come together
  bool adamw = true;
  bool autocast = false, scaler = false;
  bool checkpoint = false;
  bool accumulate = false;
  bool ema = false;
  bool clip = false;
  bool schedule = false;
  bool hooks = false;
  bool function = false;
};

// Everything at once, in one precision or in two.
constexpr Features together(const char* name, bool mixed) {
  return {.name = name,
          .adamw = mixed,
          .autocast = mixed,
          .scaler = mixed,
          .checkpoint = true,
          .accumulate = true,
          .ema = true,
          .clip = true,
          .schedule = true,
          .hooks = true,
          .function = true};
}

constexpr Features kFeatures[] = {
    {.name = "sgd", .adamw = false},
    {.name = "autocast", .autocast = true},
    {.name = "autocast and scaler", .autocast = true, .scaler = true},
    {.name = "checkpoint", .checkpoint = true},
    {.name = "accumulation", .accumulate = true},
    {.name = "ema, clipping, schedule", .ema = true, .clip = true, .schedule = true},
    {.name = "hooks, function", .hooks = true, .function = true},
    together("+ mixed precision", true),
    together("+ single precision", false),
};

// x sigmoid(beta x), with a gradient of its own.
struct Swish : Function<Swish> {
  static Tensor forward(Context& c, const Tensor& x, double beta) {
    c.save_for_backward({x});
    c.data["beta"] = beta;
    return x * (x * beta).sigmoid();
  }
  static std::vector<Tensor> backward(Context& c, const std::vector<Tensor>& g) {
    const double beta = std::any_cast<double>(c.data["beta"]);
    const Tensor x = c.saved()[0], s = (x * beta).sigmoid();
    return {g[0] * (s + x * s * (1 - s) * beta), Tensor()};
  }
};

struct Text {
  using Model = test::Gpt;
  static constexpr int64_t classes = Model::vocab;
  static Tensor x() { return randint(0, classes, {4, Model::time}); }
  static Tensor y() { return randint(0, classes, {4 * Model::time}); }
};
struct Images {
  using Model = test::Conv;
  static constexpr int64_t classes = 5;
  static Tensor x() { return randn({8, 2, 8, 8}); }
  static Tensor y() { return randint(0, classes, {8}); }
};

// What a run came to: losses, parameters, buffers, the average, and the state of everything else.
struct Run {
  std::vector<Tensor> tensors;
  std::vector<Value> numbers;
  Generator::State random{};
  int64_t skipped = 0, hooks = 0;

  void add(const Value& v) {
    if (v.is_tensor())
      tensors.push_back(v.as_tensor().detach().clone());
    else if (v.is_dict())
      for (const auto& [key, value] : v.as_dict()) add(key), add(value);
    else if (v.is_list())
      for (const Value& value : v.as_list()) add(value);
    else
      numbers.push_back(v);
  }
  void add(const StateDict& all) {
    for (const auto& [name, t] : all) tensors.push_back(t.detach().clone());
  }
};

template <class Data>
class Trainer {
 public:
  explicit Trainer(const Features& f) : f_(f) {
    model_.checkpointing = f.checkpoint;
    if (f.adamw)
      optimizer_ = std::make_unique<optim::AdamW>(model_.parameters(), optim::AdamWOptions{.lr = 1e-2});
    else
      optimizer_ = std::make_unique<optim::SGD>(model_.parameters(), optim::SGDOptions{.lr = 0.05, .momentum = 0.9});
    if (f.schedule)
      schedule_ = std::make_unique<optim::CosineWithWarmup>(
          *optimizer_, optim::CosineWithWarmupOptions{.warmup_steps = 10, .total_steps = 90, .min_factor = 0.1});
    if (f.ema)
      average_ =
          std::make_unique<nn::AveragedModel<typename Data::Model>>(model_, nn::AveragedModelOptions{.ema_decay = 0.9});
    if (f.hooks) add_hooks();
    for (int i = 0; i < 8; ++i) x_.push_back(Data::x()), y_.push_back(Data::y());
  }

  const Tensor& x(int64_t at) const { return x_[static_cast<size_t>(at % 8)]; }
  const Tensor& y(int64_t at) const { return y_[static_cast<size_t>(at % 8)]; }

  Tensor step(const Tensor& x, const Tensor& y) {
    optimizer_->zero_grad();
    Tensor total = zeros({});
    const int64_t micro = f_.accumulate ? kMicro : 1, rows = x.size(0) / micro, labels = y.size(0) / micro;
    for (int64_t k = 0; k < micro; ++k) {
      const Tensor loss = this->loss(x.narrow(0, k * rows, rows), y.narrow(0, k * labels, labels)) / micro;
      (f_.scaler ? scaler_.scale(loss) : loss).backward();
      total = total + loss.detach();
    }
    if (f_.scaler) scaler_.unscale_(*optimizer_);
    if (f_.clip) total = total + nn::utils::clip_grad_norm_(model_.parameters(), 0.5) * 1e-3;
    optim::StepResult result{.stepped = true};
    if (f_.scaler) {
      result = scaler_.step(*optimizer_);
      scaler_.update();
      skipped_ += result.skipped;
    } else {
      optimizer_->step();
    }
    if (schedule_) schedule_->step(result);
    if (average_) average_->update_parameters(model_);
    return total;
  }

  Run run(const std::function<Tensor(const Tensor&, const Tensor&)>& step) {
    Run r;
    for (int64_t i = 0; i < kSteps; ++i) r.tensors.push_back(step(x(i), y(i)));
    r.add(model_.state_dict());
    if (average_) r.add(average_->state_dict());
    r.add(optimizer_->state_dict());
    if (f_.scaler) r.add(scaler_.state_dict());
    r.random = default_generator().get_state();
    r.skipped = skipped_;
    r.hooks = hooks_;
    return r;
  }

 private:
  Tensor loss(const Tensor& x, const Tensor& y) {
    const Autocast mixed("cpu", f_.scaler ? DType::f16 : DType::bf16, {.enabled = f_.autocast});
    Tensor logits = model_(x).reshape({-1, Data::classes});
    if (f_.function) logits = Swish::apply(logits, 1.5) + logits;
    if (f_.hooks)
      logits.register_hook([this](const Tensor& g) {
        ++hooks_;
        return g * 0.5 + 1e-4;
      });
    // A chain that is worth waiting for: calls that gain nothing soon run as if not compiled.
    const Tensor wide = ((wide_ * 1.5 + 0.25) * wide_ - 0.5) * 2 + wide_;
    return cross_entropy(logits, y) + wide.mean() * 1e-3;
  }

  void add_hooks() {
    model_.drop.register_forward_pre_hook([this](nn::Module&, const Tensor& x) {
      ++hooks_;
      return x * 1.25;
    });
    model_.norm.register_forward_hook([this](nn::Module&, const Tensor&, const Tensor& y) {
      ++hooks_;
      return y + 0.125;
    });
    for (const Tensor& p : model_.parameters())
      p.register_post_accumulate_grad_hook([this](const Tensor& leaf) {
        ++hooks_;
        leaf.grad().mul_(0.75);
      });
  }

  const Features f_;
  typename Data::Model model_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<optim::Scheduler> schedule_;
  std::unique_ptr<nn::AveragedModel<typename Data::Model>> average_;
  optim::GradScaler scaler_{{.init_scale = 0x1p40, .growth_factor = 4, .growth_interval = 7}};
  const Tensor wide_ = rand({kThreadSanitized ? 50000 : 200000});
  std::vector<Tensor> x_, y_;
  int64_t skipped_ = 0, hooks_ = 0;
};

template <class Data>
Run train(const Features& f, const CompileOptions* options, CompileStats* stats = nullptr,
          std::string* report = nullptr) {
  manual_seed(11);
  Trainer<Data> trainer(f);
  const auto step = [&](const Tensor& x, const Tensor& y) { return trainer.step(x, y); };
  if (!options) return trainer.run(step);
  auto fast = compile(step, *options);
  Run r = trainer.run([&](const Tensor& x, const Tensor& y) { return fast(x, y); });
  *stats = fast.stats();
  *report = fast.report();
  return r;
}

void check_same(const Run& fast, const Run& eager) {
  REQUIRE(fast.tensors.size() == eager.tensors.size());
  size_t different = 0, first = 0;
  for (size_t i = 0; i < eager.tensors.size(); ++i)
    if (!same_bits(fast.tensors[i], eager.tensors[i]) && different++ == 0) first = i;
  CAPTURE(first);
  CHECK(different == 0);
  CHECK(fast.numbers == eager.numbers);
  CHECK(fast.random == eager.random);
  CHECK(fast.skipped == eager.skipped);
  CHECK(fast.hooks == eager.hooks);
}

template <class Data>
void check_features() {
  size_t number = 0;
  for (const Features& f : kFeatures) {
    ++number;
    if (kThreadSanitized ? number != std::size(kFeatures) : kSanitized && f.name[0] != '+' && number % 3) continue;
    const Run eager = train<Data>(f, nullptr);
    if (f.scaler) CHECK((eager.skipped > 5 && eager.skipped < 60));
    if (f.hooks) CHECK(eager.hooks > 5 * kSteps);
    CHECK(std::isfinite(eager.tensors[kSteps - 1].item<float>()));
    for (size_t m = 0; m < std::size(kModes); ++m) {
      // Single features take turns; instrumented, combinations do.
      if ((f.name[0] != '+' || kSanitized) && m != number % std::size(kModes)) continue;
      const CompileMode mode = kModes[m];
      CAPTURE(f.name, static_cast<int>(mode));
      const CompileOptions options{.mode = mode, .on_fallback = OnFallback::silent};
      CompileStats stats;
      std::string report;
      check_same(train<Data>(f, &options, &stats, &report), eager);
      CHECK(stats.calls == kSteps);
      // The first step makes gradients and the optimizer's state; the first average copies; a skipped step ends early.
      CHECK(stats.recorded <= (f.scaler ? 6 : 3));
      CHECK(stats.matched > kSteps * 4 / 5);
      CHECK(stats.at_once == 0);
      CHECK(stats.breaks.empty());
      CHECK(stats.explained.empty() == !f.scaler);
      if (f.scaler) CHECK_THAT(report, Contains("GradScaler"));
      if (mode != CompileMode::default_) CHECK_THAT(report, Contains("no direct replay: it captures variables"));
    }
  }
}

}  // namespace

TEST_CASE("compiled steps of a transformer: every feature of training has the bits of eager") {
  check_features<Text>();
}

TEST_CASE("compiled steps of a convolutional model: every feature of training has the bits of eager") {
  check_features<Images>();
}

TEST_CASE("compiled steps run by generated code have the bits of eager") {
  const test::EnvironmentVariable waiting("WEFT_NATIVE", "wait");
  const Features& all =
      *std::find_if(std::begin(kFeatures), std::end(kFeatures), [](const Features& f) { return f.name[0] == '+'; });
  const CompileOptions options{.on_fallback = OnFallback::silent};
  CompileStats stats;
  std::string report;
  check_same(train<Images>(all, &options, &stats, &report), train<Images>(all, nullptr));
  CHECK_THAT(report, Contains("generated code for ") && !Contains("failed"));
}

// What direct replay needs: nothing random, no numbers that change, gradients and state that are there.
TEST_CASE("compiled steps replayed directly have the bits of eager") {
  struct Net : nn::Layer<Net> {
    nn::Conv2d conv{*this, "conv", 2, 6, 3};
    nn::GroupNorm norm{*this, "norm", 2, 6};
    nn::Linear down{*this, "down", 6 * 6 * 6, 5};
    Tensor forward(const Tensor& x) {
      const Tensor h = checkpoint([this](const Tensor& y) { return tanh(norm(conv(y))); }, x).flatten(1);
      return down(Swish::apply(h, 1.5));
    }
  };
  const auto run = [](const CompileOptions* options) {
    manual_seed(5);
    Net net;
    int hooks = 0;
    const Tensor weight = net.down.weight;
    weight.register_hook([&](const Tensor& g) {
      ++hooks;
      return g * 0.5;
    });
    Tensor average = net.conv.weight.detach().clone();
    optim::SGD optimizer(net.parameters(), {.lr = 0.05, .momentum = 0.9});
    const auto step = [&](const Tensor& x, const Tensor& y) {
      optimizer.zero_grad(false);
      Tensor total = zeros({});
      for (int64_t k = 0; k < 2; ++k) {
        const Autocast mixed("cpu");
        const Tensor loss = cross_entropy(net(x.select(0, k)), y.select(0, k)) / 2;
        loss.backward();
        total = total + loss.detach();
      }
      nn::utils::clip_grad_norm_(net.parameters(), 1.0);
      optimizer.step();
      const NoGrad guard;
      average.mul_(0.9).add_(net.conv.weight, 0.1);
      return total;
    };
    std::vector<Tensor> out;
    std::unique_ptr<Compiled<std::function<Tensor(const Tensor&, const Tensor&)>>> fast;
    if (options) fast = std::make_unique<std::decay_t<decltype(*fast)>>(step, *options);
    for (int64_t i = 0; i < kSteps; ++i) {
      const Tensor x = randn({2, 6, 2, 8, 8}), y = randint(0, 5, {2, 6});
      out.push_back(fast ? (*fast)(x, y) : step(x, y));
    }
    if (fast) {
      CAPTURE(fast->report());
      CHECK(fast->stats().direct > kSteps * 3 / 4);
      CHECK(fast->stats().recorded <= 3);
      CHECK(hooks < kSteps);  // code does not run
    }
    for (const Tensor& p : net.parameters()) out.push_back(p);
    out.push_back(average);
    const Value state = optimizer.state_dict();
    for (const auto& [key, value] : state.at("state").as_dict()) out.push_back(value.at("momentum_buffer").as_tensor());
    return out;
  };
  const std::vector<Tensor> eager = run(nullptr);
  for (CompileMode mode : {CompileMode::reduce_overhead, CompileMode::max_autotune}) {
    const CompileOptions options{.mode = mode, .on_fallback = OnFallback::error, .verify_every = 40, .pure = true};
    const std::vector<Tensor> fast = run(&options);
    REQUIRE(fast.size() == eager.size());
    for (size_t i = 0; i < eager.size(); ++i) {
      CAPTURE(static_cast<int>(mode), i);
      CHECK(same_bits(fast[i], eager[i]));
    }
  }
}
