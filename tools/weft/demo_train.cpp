#include "tools/weft/demo_train.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/random.h"
#include "nn/clip.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tools/weft/demo_progress.h"

namespace weft::demo {
namespace {

constexpr int64_t kWarmup = 100;
constexpr double kLeastRate = 0.1;  // of lr, at the end of the cosine
constexpr double kDrop = 0.1;       // at each drop of the step schedule
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
profiler::ProfilerOptions profiled_steps(int64_t steps,
                                         const std::function<void(const profiler::Profiler&)>& profiled) {
  const int64_t active = std::min<int64_t>(steps, 5), before = std::min<int64_t>(steps - active, 5);
  const int64_t warmup = std::min<int64_t>(before, 1);
  return {.record_shapes = true,
          .profile_memory = true,
          .schedule = profiler::schedule({.wait = before - warmup, .warmup = warmup, .active = active, .repeat = 1}),
          .on_trace_ready = profiled};
}

bool validated(int64_t step) { return step == 1 || step % kEvaluateEvery == 0; }

}  // namespace

std::optional<Schedule> parse_schedule(const std::string& text) {
  Schedule s;
  const size_t colon = text.find(':');
  s.kind = text.substr(0, colon);
  if (s.kind != "constant" && s.kind != "cosine" && s.kind != "step") return std::nullopt;
  if (colon == std::string::npos) return s;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, s.length);
  if (error != std::errc() || stop != end || s.length < 1 || s.kind == "constant") return std::nullopt;
  return s;
}

std::string complete_schedule(const std::string& text, int64_t steps, int64_t default_steps) {
  const Schedule s = *parse_schedule(text);
  if (s.kind == "constant" || s.length > 0) return text;
  const int64_t whole = std::max(steps, default_steps);
  return fmt::format("{}:{}", s.kind, s.kind == "cosine" ? whole : (whole + 2) / 3);
}

namespace {
CompileOptions compile_options(const Settings& s) {
  // A new pass over the data, whose order is read, cuts a call; so may memory that a batch takes over.
  return {.mode = parse_compile_mode(s.mode).value_or(CompileMode::default_), .on_fallback = OnFallback::silent};
}
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
      compiled_(parse_compile_mode(settings.mode).has_value()),
      fast_losses_([this](int64_t step) { return losses_of(step); }, compile_options(settings)),
      fast_update_([this] { change_parameters(); }, compile_options(settings)) {
  start_schedule();
}

void Trainer::start_schedule() {
  for (size_t g = 0; g < optimizer_->group_count(); ++g) optimizer_->set_lr(g, settings_.lr);
  const Schedule s = *parse_schedule(settings_.schedule);
  if (s.kind == "cosine") {
    scheduler_ = std::make_unique<optim::CosineWithWarmup>(
        *optimizer_,
        optim::CosineWithWarmupOptions{
            .warmup_steps = std::min(kWarmup, s.length / 10), .total_steps = s.length, .min_factor = kLeastRate});
  } else if (s.kind == "step") {
    scheduler_ = std::make_unique<optim::StepLR>(*optimizer_, s.length, kDrop);
  }
  // Rates are a function of the step, so a resumed run finds its own, and may choose another schedule. A warm-up begins
  // with the rate behind 0.
  for (int64_t i = 0; scheduler_ && i <= step_; ++i) scheduler_->step();
}

void Trainer::resume(const Value& checkpoint, const std::string& path) {
  try {
    const std::string& dataset = checkpoint.at("settings").at("dataset").as_string("dataset");
    WEFT_CHECK(dataset == task_.dataset(), "trained on other data ({}; now {})", dataset, task_.dataset());
    const int64_t step = checkpoint.at("step").as_int("step");
    WEFT_CHECK(step >= 1, "step {} is not a step", step);
    std::vector<LossRow> rows = rows_of(checkpoint.at("history"));
    task_.model().load_state_dict(checkpoint.at("model_state_dict").as_state_dict("model_state_dict"));
    optimizer_->load_state_dict(checkpoint.at("optimizer_state_dict"));
    const Value& rng = checkpoint.at("rng");
    default_generator().set_state({static_cast<uint64_t>(rng.at("seed").as_int("seed")),
                                   static_cast<uint64_t>(rng.at("offset").as_int("offset"))});
    step_ = step;
    rows_ = std::move(rows);
  } catch (const InternalError&) {
    throw;
  } catch (const Error& e) {
    WEFT_CHECK_FILE(false, "resume: '{}' cannot be continued: {}", path, e.what());
  }
  WEFT_CHECK(step_ < settings_.steps, "resume: '{}' has all of its {} steps; give more --steps", path, step_);
  // The last row of a run has a validation loss that a run without a stop would not have.
  if (!rows_.empty() && !validated(rows_.back().step)) rows_.back().val.reset();
  start_schedule();
}

std::vector<Tensor> Trainer::losses_of(int64_t step) {
  optimizer_->zero_grad();
  std::vector<Tensor> losses;
  for (int64_t i = 0; i < settings_.accumulate; ++i) {
    Tensor loss;
    {
      const profiler::record_function range("forward");
      const Autocast cast = autocast();
      loss = task_.loss((step - 1) * settings_.accumulate + i);
      if (settings_.accumulate > 1) loss = loss / static_cast<double>(settings_.accumulate);
    }
    const profiler::record_function range("backward");
    loss.backward();
    losses.push_back(loss.detach());
  }
  return losses;
}

double Trainer::compute_gradients(int64_t step) {
  double train = 0;
  for (const Tensor& loss : compiled_ ? fast_losses_(step) : losses_of(step)) train += loss.item<double>();
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
  nn::utils::clip_grad_norm_(parameters_, kLargestNorm);
  optimizer_->step();
}

void Trainer::update() {
  compiled_ ? fast_update_() : change_parameters();
  if (scheduler_) scheduler_->step();
}

Outcome Trainer::run(const std::function<void()>& save,
                     const std::function<void(const profiler::Profiler&)>& profiled) {
  const StopRequest stop;
  Outcome outcome;
  Progress progress(step_, settings_.steps, task_.unit(), settings_.quiet);
  const double units = static_cast<double>(task_.units_per_batch() * settings_.accumulate);
  const int64_t first = step_;
  profiler::Profiler profile(profiled_steps(settings_.steps - first, profiled));
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
    rows_.push_back(row);
    const double per_step = seconds(training) / static_cast<double>(step_ - first);
    outcome.units_per_s = units / per_step;
    progress.step(row, lr, outcome.units_per_s, per_step);
    if (last || step_ % kEvaluateEvery == 0) save();
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
  const Generator::State rng = default_generator().get_state();
  return {{"epoch", static_cast<int64_t>(task_.epochs(step_ * settings_.accumulate))},
          {"step", step_},
          {"loss", rows_.back().train},
          {"model_state_dict", task_.model().state_dict()},
          {"optimizer_state_dict", optimizer_->state_dict()},
          {"rng", {{"seed", static_cast<int64_t>(rng.seed)}, {"offset", static_cast<int64_t>(rng.offset)}}},
          {"settings", settings},
          {"history", rows_value(rows_)}};
}

}  // namespace weft::demo
