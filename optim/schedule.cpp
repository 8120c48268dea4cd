#include "optim/schedule.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace weft::optim {
namespace {

double real(int64_t n) { return static_cast<double>(n); }

std::vector<LrLambda> for_groups(std::vector<LrLambda> f, size_t groups, const char* name) {
  WEFT_CHECK(f.size() == groups, "{}: {} functions for {} parameter groups", name, f.size(), groups);
  for (const LrLambda& one : f) WEFT_CHECK(one, "{}: a function is empty", name);
  return f;
}
std::vector<LrLambda> for_groups(LrLambda f, size_t groups, const char* name) {
  return for_groups(std::vector<LrLambda>(groups, std::move(f)), groups, name);
}
// PyTorch's place for the facts of functions; ours have none that can be saved.
void save_functions(detail::Fields& f, size_t n) {
  if (!f.loading()) f.save("lr_lambdas", Value::list(Value::List(n)));
}

}  // namespace

LambdaLR::LambdaLR(Optimizer& optimizer, LrLambda f)
    : Scheduler(optimizer), functions_(for_groups(std::move(f), groups(), "LambdaLR")) {
  start();
}
LambdaLR::LambdaLR(Optimizer& optimizer, std::vector<LrLambda> f)
    : Scheduler(optimizer), functions_(for_groups(std::move(f), groups(), "LambdaLR")) {
  start();
}
std::vector<double> LambdaLR::get_lr() {
  std::vector<double> out;
  for (size_t g = 0; g < base_lrs_.size(); ++g) out.push_back(base_lrs_[g] * functions_[g](last_epoch_));
  return out;
}
void LambdaLR::fields(detail::Fields& f) {
  Scheduler::fields(f);
  save_functions(f, functions_.size());
}

MultiplicativeLR::MultiplicativeLR(Optimizer& optimizer, LrLambda f)
    : Scheduler(optimizer), functions_(for_groups(std::move(f), groups(), "MultiplicativeLR")) {
  start();
}
MultiplicativeLR::MultiplicativeLR(Optimizer& optimizer, std::vector<LrLambda> f)
    : Scheduler(optimizer), functions_(for_groups(std::move(f), groups(), "MultiplicativeLR")) {
  start();
}
std::vector<double> MultiplicativeLR::get_lr() {
  std::vector<double> out = rates();
  if (!initial_)
    for (size_t g = 0; g < functions_.size(); ++g) out[g] *= functions_[g](last_epoch_);
  return out;
}
void MultiplicativeLR::fields(detail::Fields& f) {
  Scheduler::fields(f);
  save_functions(f, functions_.size());
}

StepLR::StepLR(Optimizer& optimizer, int64_t step_size, double gamma)
    : Scheduler(optimizer), step_size_(step_size), gamma_(gamma) {
  WEFT_CHECK(step_size > 0, "StepLR: step_size must be positive, got {}", step_size);
  start();
}
std::vector<double> StepLR::get_lr() {
  return last_epoch_ == 0 || last_epoch_ % step_size_ != 0 ? rates() : rates_times(gamma_);
}
std::vector<double> StepLR::closed_form_lr() { return base_times(std::pow(gamma_, real(last_epoch_ / step_size_))); }
void StepLR::fields(detail::Fields& f) {
  f("step_size", step_size_);
  f("gamma", gamma_);
  Scheduler::fields(f);
}

MultiStepLR::MultiStepLR(Optimizer& optimizer, const std::vector<int64_t>& milestones, double gamma)
    : Scheduler(optimizer), gamma_(gamma) {
  for (int64_t m : milestones) ++milestones_[m];
  start();
}
std::vector<double> MultiStepLR::get_lr() {
  auto it = milestones_.find(last_epoch_);
  return it == milestones_.end() ? rates() : rates_times(std::pow(gamma_, real(it->second)));
}
std::vector<double> MultiStepLR::closed_form_lr() {
  int64_t passed = 0;
  for (const auto& [step, times] : milestones_) passed += step <= last_epoch_ ? times : 0;
  return base_times(std::pow(gamma_, real(passed)));
}
void MultiStepLR::fields(detail::Fields& f) {
  if (!f.loading()) {
    Value::Dict d;
    for (const auto& [step, times] : milestones_) d.set(step, times);
    f.save("milestones", Value(std::move(d)));
  } else if (const Value* saved = f.find("milestones")) {
    milestones_.clear();
    for (const auto& [step, times] : saved->as_dict("milestones"))
      milestones_[step.as_int("milestones")] = times.as_int("milestones");
  }
  f("gamma", gamma_);
  Scheduler::fields(f);
}

ConstantLR::ConstantLR(Optimizer& optimizer, double factor, int64_t total_iters)
    : Scheduler(optimizer), factor_(factor), total_iters_(total_iters) {
  WEFT_CHECK(factor >= 0 && factor <= 1, "ConstantLR: factor must lie in [0, 1], got {}", factor);
  start();
}
std::vector<double> ConstantLR::get_lr() {
  if (last_epoch_ == 0) return rates_times(factor_);
  return last_epoch_ == total_iters_ ? rates_times(1.0 / factor_) : rates();
}
std::vector<double> ConstantLR::closed_form_lr() {
  return base_times(last_epoch_ >= total_iters_ ? factor_ + (1 - factor_) : factor_);
}
void ConstantLR::fields(detail::Fields& f) {
  f("factor", factor_);
  f("total_iters", total_iters_);
  Scheduler::fields(f);
}

LinearLR::LinearLR(Optimizer& optimizer, const LinearLROptions& o) : Scheduler(optimizer), options_(o) {
  WEFT_CHECK(o.start_factor > 0 && o.start_factor <= 1, "LinearLR: start_factor must lie in (0, 1], got {}",
             o.start_factor);
  WEFT_CHECK(o.end_factor >= 0 && o.end_factor <= 1, "LinearLR: end_factor must lie in [0, 1], got {}", o.end_factor);
  start();
}
std::vector<double> LinearLR::get_lr() {
  const auto& o = options_;
  if (last_epoch_ == 0) return rates_times(o.start_factor);
  if (initial_ || last_epoch_ > o.total_iters) return rates();
  const double way = o.end_factor - o.start_factor;
  return rates_times(1.0 + way / (real(o.total_iters) * o.start_factor + real(last_epoch_ - 1) * way));
}
std::vector<double> LinearLR::closed_form_lr() {
  const auto& o = options_;
  return base_times(o.start_factor +
                    (o.end_factor - o.start_factor) * real(std::min(o.total_iters, last_epoch_)) / real(o.total_iters));
}
void LinearLR::fields(detail::Fields& f) {
  f("start_factor", options_.start_factor);
  f("end_factor", options_.end_factor);
  f("total_iters", options_.total_iters);
  Scheduler::fields(f);
}

ExponentialLR::ExponentialLR(Optimizer& optimizer, double gamma) : Scheduler(optimizer), gamma_(gamma) { start(); }
std::vector<double> ExponentialLR::get_lr() { return initial_ ? rates() : rates_times(gamma_); }
std::vector<double> ExponentialLR::closed_form_lr() { return base_times(std::pow(gamma_, real(last_epoch_))); }
void ExponentialLR::fields(detail::Fields& f) {
  f("gamma", gamma_);
  Scheduler::fields(f);
}

PolynomialLR::PolynomialLR(Optimizer& optimizer, int64_t total_iters, double power)
    : Scheduler(optimizer), total_iters_(total_iters), power_(power) {
  WEFT_CHECK(total_iters > 0, "PolynomialLR: total_iters must be positive, got {}", total_iters);
  start();
}
std::vector<double> PolynomialLR::get_lr() {
  if (initial_ || last_epoch_ > total_iters_) return rates();
  const double total = real(total_iters_);
  return rates_times(std::pow((1.0 - real(last_epoch_) / total) / (1.0 - real(last_epoch_ - 1) / total), power_));
}
std::vector<double> PolynomialLR::closed_form_lr() {
  return base_times(std::pow(1.0 - real(std::min(total_iters_, last_epoch_)) / real(total_iters_), power_));
}
void PolynomialLR::fields(detail::Fields& f) {
  f("total_iters", total_iters_);
  f("power", power_);
  Scheduler::fields(f);
}

CosineAnnealingLR::CosineAnnealingLR(Optimizer& optimizer, int64_t T_max, double eta_min)
    : Scheduler(optimizer), T_max_(T_max), eta_min_(eta_min) {
  WEFT_CHECK(T_max > 0, "CosineAnnealingLR: T_max must be positive, got {}", T_max);
  start();
}
std::vector<double> CosineAnnealingLR::get_lr() {
  if (initial_) return rates();
  const double total = real(T_max_);
  std::vector<double> out = rates();
  for (size_t g = 0; g < out.size(); ++g) {
    if (step_count_ == 1 && last_epoch_ > 0) {
      out[g] = eta_min_ + (base_lrs_[g] - eta_min_) * (1 + std::cos(real(last_epoch_) * M_PI / total)) / 2;
    } else if ((last_epoch_ - 1 - T_max_) % (2 * T_max_) == 0) {  // the rate in use is eta_min: nothing to multiply
      out[g] += (base_lrs_[g] - eta_min_) * (1 - std::cos(M_PI / total)) / 2;
    } else {
      out[g] = (1 + std::cos(M_PI * real(last_epoch_) / total)) / (1 + std::cos(M_PI * real(last_epoch_ - 1) / total)) *
                   (out[g] - eta_min_) +
               eta_min_;
    }
  }
  return out;
}
std::vector<double> CosineAnnealingLR::closed_form_lr() {
  std::vector<double> out = base_lrs_;
  for (double& r : out) r = eta_min_ + (r - eta_min_) * (1 + std::cos(M_PI * real(last_epoch_) / real(T_max_))) / 2;
  return out;
}
void CosineAnnealingLR::fields(detail::Fields& f) {
  f("T_max", T_max_);
  f("eta_min", eta_min_);
  Scheduler::fields(f);
}

CosineAnnealingWarmRestarts::CosineAnnealingWarmRestarts(Optimizer& optimizer, int64_t T_0, int64_t T_mult,
                                                         double eta_min)
    : Scheduler(optimizer), T_0_(T_0), T_i_(T_0), T_mult_(T_mult), eta_min_(eta_min) {
  WEFT_CHECK(T_0 > 0, "CosineAnnealingWarmRestarts: T_0 must be positive, got {}", T_0);
  WEFT_CHECK(T_mult >= 1, "CosineAnnealingWarmRestarts: T_mult must be at least 1, got {}", T_mult);
  start();
}
std::vector<double> CosineAnnealingWarmRestarts::get_lr() {
  std::vector<double> out = base_lrs_;
  for (double& r : out) r = eta_min_ + (r - eta_min_) * (1 + std::cos(M_PI * T_cur_ / real(T_i_))) / 2;
  return out;
}
void CosineAnnealingWarmRestarts::advance() {
  if (last_epoch_ < 0) return step(0.0);
  T_cur_ += 1;
  if (T_cur_ >= real(T_i_)) {
    T_cur_ = std::fmod(T_cur_, real(T_i_));
    T_i_ *= T_mult_;
  }
  ++last_epoch_;
  set_rates(get_lr());
}
void CosineAnnealingWarmRestarts::step(double epoch) {
  WEFT_CHECK(epoch >= 0, "CosineAnnealingWarmRestarts: epoch must not be negative, got {}", epoch);
  const double first = real(T_0_), times = real(T_mult_);
  T_i_ = T_0_;
  T_cur_ = epoch;
  if (epoch >= first && T_mult_ == 1) {
    T_cur_ = std::fmod(epoch, first);
  } else if (epoch >= first) {
    const double n = std::floor(std::log(epoch / first * (times - 1) + 1) / std::log(times));  // restarts so far
    T_cur_ = epoch - first * (std::pow(times, n) - 1) / (times - 1);
    T_i_ = T_0_ * static_cast<int64_t>(std::pow(times, n));
  }
  last_epoch_ = static_cast<int64_t>(std::floor(epoch));
  set_rates(get_lr());
}
void CosineAnnealingWarmRestarts::fields(detail::Fields& f) {
  f("T_0", T_0_);
  f("T_i", T_i_);
  f("T_mult", T_mult_);
  f("eta_min", eta_min_);
  f("T_cur", T_cur_);
  Scheduler::fields(f);
}

CosineWithWarmup::CosineWithWarmup(Optimizer& optimizer, const CosineWithWarmupOptions& o)
    : Scheduler(optimizer), options_(o) {
  WEFT_CHECK(o.warmup_steps >= 0 && o.total_steps > o.warmup_steps,
             "CosineWithWarmup: needs 0 <= warmup_steps < total_steps, got {} and {}", o.warmup_steps, o.total_steps);
  start();
}
std::vector<double> CosineWithWarmup::get_lr() {
  const auto& o = options_;
  if (last_epoch_ < o.warmup_steps) return base_times(real(last_epoch_) / real(o.warmup_steps));
  const double done = std::min(1.0, real(last_epoch_ - o.warmup_steps) / real(o.total_steps - o.warmup_steps));
  return base_times(o.min_factor + (1 - o.min_factor) * 0.5 * (1 + std::cos(M_PI * done)));
}
void CosineWithWarmup::fields(detail::Fields& f) {
  f("warmup_steps", options_.warmup_steps);
  f("total_steps", options_.total_steps);
  f("min_factor", options_.min_factor);
  Scheduler::fields(f);
}

}  // namespace weft::optim
