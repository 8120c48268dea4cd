#include "tools/weft/demo_train.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <csignal>

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/random.h"
#include "nn/clip.h"
#include "optim/adam.h"
#include "optim/schedule_plateau.h"
#include "optim/sgd.h"
#include "tools/weft/demo_progress.h"
#include "tools/weft/demo_schedule.h"

namespace weft::demo {
namespace {

constexpr double kWeightDecay = 0.1, kMomentum = 0.9, kLargestNorm = 1.0;
constexpr std::array<double, 2> kBetas = {0.9, 0.99};

using Clock = std::chrono::steady_clock;
double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

volatile std::sig_atomic_t stop_requested = 0;
void request_stop(int) { stop_requested = 1; }

/// Matrices decay, vectors (biases, gains) do not.
std::unique_ptr<optim::Optimizer> make_optimizer(const Settings& s, const std::vector<Tensor>& parameters) {
  std::vector<Tensor> matrices, vectors;
  for (const Tensor& p : parameters) (p.dim() > 1 ? matrices : vectors).push_back(p);
  if (s.optimizer == "sgd")
    return std::make_unique<optim::SGD>(parameters, optim::SGDOptions{.lr = s.lr, .momentum = kMomentum});
  if (s.optimizer == "adam")
    return std::make_unique<optim::Adam>(parameters, optim::AdamOptions{.lr = s.lr, .betas = kBetas});
  auto adamw = std::make_unique<optim::AdamW>(
      matrices, optim::AdamWOptions{.lr = s.lr, .betas = kBetas, .weight_decay = kWeightDecay});
  if (!vectors.empty()) adamw->add_param_group(vectors, {.lr = s.lr, .betas = kBetas, .weight_decay = 0});
  return adamw;
}

Value rows_value(const std::vector<LossRow>& rows) {
  Tensor t = empty({static_cast<int64_t>(rows.size()), 3}, {.dtype = DType::f64});
  double* to = t.data<double>();
  for (const LossRow& r : rows) {
    *to++ = static_cast<double>(r.step);
    *to++ = r.train;
    *to++ = r.val.value_or(std::nan(""));
  }
  return t;
}

std::vector<LossRow> rows_of(const Value& value) {
  const Tensor t = value.as_tensor("history").contiguous();
  WEFT_CHECK(t.dtype() == DType::f64 && t.dim() == 2 && t.size(1) == 3, "history: f64 [rows, 3] expected, {} found", t);
  std::vector<LossRow> rows;
  for (int64_t i = 0; i < t.size(0); ++i) {
    const double* from = t.data<double>() + 3 * i;
    rows.push_back(
        {static_cast<int64_t>(from[0]), from[1], std::isnan(from[2]) ? std::nullopt : std::optional(from[2])});
  }
  return rows;
}

/// A few steps once caches are warm; all there are of a short run.
profiler::ProfilerOptions profiled_steps(int64_t steps, bool cuda,
                                         const std::function<void(const profiler::Profiler&)>& profiled) {
  const int64_t active = std::min<int64_t>(steps, 5), before = std::min<int64_t>(steps - active, 5);
  const int64_t warmup = std::min<int64_t>(before, 1);
  return {.record_shapes = true,
          .profile_memory = true,
          .cuda = cuda,
          .schedule = profiler::schedule({.wait = before - warmup, .warmup = warmup, .active = active, .repeat = 1}),
          .on_trace_ready = profiled};
}

CompileOptions compile_options(const Settings& s) {
  // Memory that a batch takes over may cut a call.
  return {.mode = parse_compile_mode(s.mode).value_or(CompileMode::default_), .on_fallback = OnFallback::silent};
}

bool validated(int64_t step) { return step == 1 || step % kEvaluateEvery == 0; }

}  // namespace

StopRequest::StopRequest() {
  stop_requested = 0;
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}
StopRequest::~StopRequest() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}
bool StopRequest::made() { return stop_requested != 0; }

Trainer::Trainer(const Settings& settings, Task& task)
    : settings_(settings),
      task_(task),
      parameters_(task.model().parameters()),
      optimizer_(make_optimizer(settings, parameters_)),
      scaler_({.enabled = settings.amp == "f16"}),
      compiled_(parse_compile_mode(settings.mode).has_value()),
      fast_losses_([this] { compute_losses(); }, compile_options(settings)),
      fast_update_([this] { change_parameters(); }, compile_options(settings)) {
  state_.add("step", step_).add("model_state_dict", static_cast<nn::Module&>(task.model()));
  state_.add("optimizer_state_dict", *optimizer_).add("rng", default_generator());
  state_.add(
      "scheduler_state_dict", [this] { return scheduler_ ? scheduler_->state_dict() : Value::dict(); },
      [this](const Value& v) {
        if (scheduler_ && follows_) scheduler_->load_state_dict(v);
      });
  state_.add(
      "scaler_state_dict", [this] { return scaler_.state_dict(); },
      [this](const Value& v) {
        if (scaler_.is_enabled() && v.size() > 0) scaler_.load_state_dict(v);
      });
  state_.add(
      "history", [this] { return rows_value(rows_); }, [this](const Value& v) { rows_ = rows_of(v); });
  task.add_to(state_);
  start_schedule();
}

void Trainer::start_schedule() {
  for (size_t g = 0; g < optimizer_->group_count(); ++g) {
    optimizer_->set_lr(g, settings_.lr);
    optimizer_->set_initial_lr(g, settings_.lr);
  }
  scheduler_ = make_schedule(settings_.schedule, *optimizer_);
  if (!scheduler_ || looks_at_loss(settings_.schedule)) return;
  for (int64_t i = 0; i < step_ + steps_ahead(settings_.schedule); ++i) scheduler_->step();
}

void Trainer::resume(const Value& checkpoint, const std::string& path) {
  try {
    const Value& settings = checkpoint.at("settings");
    const std::string& dataset = settings.at("dataset").as_string("dataset");
    WEFT_CHECK(dataset == task_.dataset(), "trained on other data ({}; now {})", dataset, task_.dataset());
    WEFT_CHECK(checkpoint.at("step").as_int("step") >= 1, "step {} is not a step", checkpoint["step"].as_int());
    follows_ = settings.at("schedule") == Value(settings_.schedule) && settings.at("lr") == Value(settings_.lr);
    state_.load_state_dict(checkpoint, {"epoch", "loss", "settings"});
  } catch (const InternalError&) {
    throw;
  } catch (const Error& e) {
    WEFT_CHECK_FILE(false, "resume: '{}' cannot be continued: {}", path, e.what());
  }
  WEFT_CHECK(step_ < settings_.steps, "resume: '{}' has all of its {} steps; give more --steps", path, step_);
  // The last row of a run has a validation loss that a run without a stop would not have.
  if (!rows_.empty() && !validated(rows_.back().step)) rows_.back().val.reset();
  if (!follows_) start_schedule();
}

void Trainer::compute_losses() {
  optimizer_->zero_grad();
  losses_.clear();
  for (const Batch& batch : batches_) {
    Tensor loss;
    {
      const profiler::record_function range("forward");
      const Autocast cast = autocast();
      loss = task_.loss(batch);
      if (settings_.accumulate > 1) loss = loss / static_cast<double>(settings_.accumulate);
    }
    const profiler::record_function range("backward");
    scaler_.scale(loss).backward();
    losses_.push_back(loss.detach());
  }
}

double Trainer::compute_gradients(int64_t step) {
  batches_.clear();
  {
    const profiler::record_function range("data");
    for (int64_t i = 0; i < settings_.accumulate; ++i) batches_.push_back(task_.next());
  }
  compiled_ ? fast_losses_() : compute_losses();
  double train = 0;
  for (const Tensor& loss : losses_) train += loss.item<double>();
  WEFT_CHECK(std::isfinite(train), "{}: the loss of step {} is {}; a smaller --lr may help", settings_.demo, step,
             train);
  return train;
}

Score Trainer::evaluate(bool all) {
  const Autocast cast = autocast();
  return task_.evaluate(all);
}

void Trainer::change_parameters() {
  const profiler::record_function range("update");
  scaler_.unscale_(*optimizer_);
  nn::utils::clip_grad_norm_(parameters_, kLargestNorm);
  updated_ = scaler_.step(*optimizer_);
  scaler_.update();
}

void Trainer::update() {
  compiled_ ? fast_update_() : change_parameters();
  if (scheduler_ && !looks_at_loss(settings_.schedule)) scheduler_->step(updated_);
}

Outcome Trainer::run(const std::function<void()>& save,
                     const std::function<void(const profiler::Profiler&)>& profiled) {
  const StopRequest stop;
  Outcome outcome;
  Progress progress(step_, settings_.steps, task_.unit(), settings_.quiet);
  const double units = static_cast<double>(task_.units_per_batch() * settings_.accumulate);
  const int64_t first = step_;
  profiler::Profiler profile(profiled_steps(settings_.steps - first, Device(settings_.device).is_cuda(), profiled));
  if (profiled) profile.start();
  Clock::duration training{};
  while (step_ < settings_.steps && !outcome.interrupted) {
    const double lr = optimizer_->lr();
    LossRow row{.step = step_ + 1};
    Clock::time_point begin = Clock::now();
    row.train = compute_gradients(row.step);
    training += Clock::now() - begin;
    if (row.step == 1) row.val = evaluate(false).loss;
    begin = Clock::now();
    update();
    training += Clock::now() - begin;
    step_ = row.step;
    outcome.interrupted = StopRequest::made();
    const bool last = outcome.interrupted || step_ == settings_.steps;
    if (!row.val && (last || validated(step_))) row.val = evaluate(false).loss;
    if (auto* plateau = dynamic_cast<optim::ReduceLROnPlateau*>(scheduler_.get()); plateau && validated(step_))
      plateau->step(*row.val);
    rows_.push_back(row);
    const double per_step = seconds(training) / static_cast<double>(step_ - first);
    outcome.units_per_s = units / per_step;
    progress.step(row, lr, outcome.units_per_s, per_step);
    if (last || step_ % settings_.save_every == 0) save();
    if (profiled) profile.step();
  }
  profile.stop();
  outcome.train_s = seconds(training);
  progress.clear();
  outcome.final = evaluate(!outcome.interrupted);
  return outcome;
}

Value Trainer::checkpoint() const {
  Value settings = Value::dict();
  settings.set("demo", settings_.demo);
  each_setting(settings_, [&](const char* name, const auto& value, OnResume) { settings.set(name, value); });
  settings.set("dataset", task_.dataset());
  const Value extra = task_.extra();
  for (const auto& [key, value] : extra.as_dict()) settings.set(key, value);
  Value out = {{"epoch", static_cast<int64_t>(task_.epochs(step_ * settings_.accumulate))},
               {"loss", rows_.back().train},
               {"settings", settings}};
  const Value state = state_.state_dict();
  for (const auto& [key, value] : state.as_dict()) out.set(key, value);
  return out;
}

}  // namespace weft::demo
