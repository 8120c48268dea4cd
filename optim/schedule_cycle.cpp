#include "optim/schedule_cycle.h"

#include <cmath>

#include "core/error.h"

namespace weft::optim {
namespace {

double real(int64_t n) { return static_cast<double>(n); }

void check_mode(const std::string& mode, const std::string& scale_mode, bool own_function) {
  WEFT_CHECK(own_function || mode == "triangular" || mode == "triangular2" || mode == "exp_range",
             "CyclicLR: mode must be triangular, triangular2 or exp_range where there is no scale_fn, got {}", mode);
  WEFT_CHECK(scale_mode == "cycle" || scale_mode == "iterations",
             "CyclicLR: scale_mode must be cycle or iterations, got {}", scale_mode);
}

// The base rate is the initial one, unless another scheduler was there before.
Optimizer& with_base_lr(Optimizer& optimizer, const CyclicLROptions& o) {
  WEFT_CHECK(o.step_size_up > 0 && o.step_size_down >= 0,
             "CyclicLR: step sizes must be positive, got up {} and down {}", o.step_size_up, o.step_size_down);
  check_mode(o.mode, o.scale_mode, o.scale_fn != nullptr);
  const std::vector<double> base = o.base_lr.spread(optimizer.group_count(), "CyclicLR: base_lr");
  for (size_t g = 0; g < base.size(); ++g) optimizer.set_lr(g, base[g]);
  return optimizer;
}

}  // namespace

CyclicLR::CyclicLR(Optimizer& optimizer, const CyclicLROptions& o)
    : Scheduler(with_base_lr(optimizer, o)),
      max_lrs_(o.max_lr.spread(groups(), "CyclicLR: max_lr")),
      gamma_(o.gamma),
      mode_(o.mode),
      scale_mode_(o.scale_mode),
      scale_fn_(o.scale_fn),
      cycle_momentum_(o.cycle_momentum) {
  const double up = real(o.step_size_up), down = o.step_size_down > 0 ? real(o.step_size_down) : up;
  total_size_ = up + down;
  step_ratio_ = up / total_size_;
  if (!scale_fn_) scale_mode_ = mode_ == "exp_range" ? "iterations" : "cycle";
  if (cycle_momentum_) {
    base_momentums_ = o.base_momentum.spread(groups(), "CyclicLR: base_momentum");
    max_momentums_ = o.max_momentum.spread(groups(), "CyclicLR: max_momentum");
    for (size_t g = 0; g < groups(); ++g) set_momentum(g, max_momentums_[g], "CyclicLR");
  }
  base_lrs_ = rates();
  start();
}

double CyclicLR::height(double cycle) const {
  const double x = scale_mode_ == "cycle" ? cycle : real(last_epoch_);
  if (scale_fn_) return scale_fn_(x);
  if (mode_ == "triangular2") return 1 / std::pow(2.0, x - 1);
  return mode_ == "exp_range" ? std::pow(gamma_, x) : 1.0;
}

std::vector<double> CyclicLR::get_lr() {
  const double t = real(last_epoch_), cycle = std::floor(1 + t / total_size_);
  const double x = 1.0 + t / total_size_ - cycle;
  const double part = x <= step_ratio_ ? x / step_ratio_ : (x - 1) / (step_ratio_ - 1), scale = height(cycle);
  std::vector<double> out;
  for (size_t g = 0; g < base_lrs_.size(); ++g)
    out.push_back(base_lrs_[g] + (max_lrs_[g] - base_lrs_[g]) * part * scale);
  if (cycle_momentum_)
    for (size_t g = 0; g < base_lrs_.size(); ++g)
      set_momentum(g, max_momentums_[g] - (max_momentums_[g] - base_momentums_[g]) * part * scale, "CyclicLR");
  return out;
}

void CyclicLR::fields(detail::Fields& f) {
  f("max_lrs", max_lrs_);
  f("total_size", total_size_);
  f("step_ratio", step_ratio_);
  f("mode", mode_);
  f("gamma", gamma_);
  f("scale_mode", scale_mode_);
  f("cycle_momentum", cycle_momentum_);
  if (cycle_momentum_) {
    if (!f.loading()) f.save("use_beta1", optimizer_.has_betas());
    f("base_momentums", base_momentums_);
    f("max_momentums", max_momentums_);
  }
  if (!f.loading()) f.save("_scale_fn_custom", Value());
  Scheduler::fields(f);
  if (f.loading()) check_mode(mode_, scale_mode_, scale_fn_ != nullptr);
}

OneCycleLR::OneCycleLR(Optimizer& optimizer, const OneCycleLROptions& o)
    : Scheduler(optimizer),
      anneal_strategy_(o.anneal_strategy),
      max_lrs_(o.max_lr.spread(groups(), "OneCycleLR: max_lr")),
      final_div_factor_(o.final_div_factor),
      cycle_momentum_(o.cycle_momentum) {
  WEFT_CHECK(o.total_steps || (o.epochs && o.steps_per_epoch),
             "OneCycleLR: needs total_steps, or epochs and steps_per_epoch; neither was given");
  for (const auto& n : {o.total_steps, o.epochs, o.steps_per_epoch})
    WEFT_CHECK(!n || *n > 0, "OneCycleLR: total_steps, epochs and steps_per_epoch must be positive, got {}", *n);
  total_steps_ = o.total_steps ? *o.total_steps : *o.epochs * *o.steps_per_epoch;
  WEFT_CHECK(o.pct_start >= 0 && o.pct_start <= 1, "OneCycleLR: pct_start must lie in [0, 1], got {}", o.pct_start);
  WEFT_CHECK(anneal_strategy_ == "cos" || anneal_strategy_ == "linear",
             "OneCycleLR: anneal_strategy must be cos or linear, got {}", anneal_strategy_);
  set_phases(o.pct_start, o.three_phase);
  if (cycle_momentum_) {
    base_momentums_ = o.base_momentum.spread(groups(), "OneCycleLR: base_momentum");
    max_momentums_ = o.max_momentum.spread(groups(), "OneCycleLR: max_momentum");
  }
  for (size_t g = 0; g < groups(); ++g) base_lrs_[g] = max_lrs_[g] / o.div_factor;
  for (size_t g = 0; g < groups(); ++g) optimizer.set_initial_lr(g, base_lrs_[g]);
  start();
}

void OneCycleLR::set_phases(double pct_start, bool three_phase) {
  const double total = real(total_steps_);
  phases_ = {{pct_start * total - 1, kFirst, kMax, true, false}};
  if (three_phase) {
    phases_.push_back({2 * pct_start * total - 2, kMax, kFirst, false, true});
    phases_.push_back({total - 1, kFirst, kLast, true, true});
  } else {
    phases_.push_back({total - 1, kMax, kLast, false, true});
  }
}

double OneCycleLR::anneal(double from, double to, double part) const {
  if (anneal_strategy_ == "linear") return (to - from) * part + from;
  return to + (from - to) / 2.0 * (std::cos(M_PI * part) + 1);
}

double OneCycleLR::rate(size_t g, Point p) const {
  return p == kMax ? max_lrs_[g] : p == kFirst ? base_lrs_[g] : base_lrs_[g] / final_div_factor_;
}

std::vector<double> OneCycleLR::get_lr() {
  WEFT_CHECK(last_epoch_ <= total_steps_, "OneCycleLR: step {}, but total_steps is {}", last_epoch_, total_steps_);
  const double t = real(last_epoch_);
  double start = 0;
  size_t i = 0;
  for (; i + 1 < phases_.size() && t > phases_[i].end_step; ++i) start = phases_[i].end_step;
  const Phase& phase = phases_[i];
  const double part = (t - start) / (phase.end_step - start);
  std::vector<double> out;
  for (size_t g = 0; g < base_lrs_.size(); ++g) {
    out.push_back(anneal(rate(g, phase.from), rate(g, phase.to), part));
    if (!cycle_momentum_) continue;
    const double low = base_momentums_[g], high = max_momentums_[g];
    set_momentum(g, anneal(phase.momentum_from_max ? high : low, phase.momentum_to_max ? high : low, part),
                 "OneCycleLR");
  }
  return out;
}

void OneCycleLR::fields(detail::Fields& f) {
  constexpr const char* kNames[] = {"initial_lr", "max_lr", "min_lr"};
  const auto momentum_name = [](bool max) { return max ? "max_momentum" : "base_momentum"; };
  f("total_steps", total_steps_);
  if (!f.loading()) {
    Value::List list;
    for (const Phase& p : phases_)
      list.push_back({{"end_step", p.end_step},
                      {"start_lr", kNames[p.from]},
                      {"end_lr", kNames[p.to]},
                      {"start_momentum", momentum_name(p.momentum_from_max)},
                      {"end_momentum", momentum_name(p.momentum_to_max)}});
    f.save("_schedule_phases", Value::list(std::move(list)));
  } else if (const Value* saved = f.find("_schedule_phases")) {
    const auto point = [&](const std::string& name) {
      for (Point p : {kFirst, kMax, kLast})
        if (name == kNames[p]) return p;
      WEFT_CHECK(false, "load_state_dict: OneCycleLR knows no rate {}", name);
      return kFirst;
    };
    std::vector<Phase> phases;
    for (const Value& p : saved->as_list("_schedule_phases"))
      phases.push_back({p.at("end_step").as_double("end_step"), point(p.at("start_lr").as_string("start_lr")),
                        point(p.at("end_lr").as_string("end_lr")),
                        p.at("start_momentum").as_string("start_momentum") == "max_momentum",
                        p.at("end_momentum").as_string("end_momentum") == "max_momentum"});
    WEFT_CHECK(!phases.empty(), "load_state_dict: OneCycleLR was saved without phases");
    phases_ = std::move(phases);
  }
  f("_anneal_func_type", anneal_strategy_);
  f("cycle_momentum", cycle_momentum_);
  if (cycle_momentum_ && !f.loading()) f.save("use_beta1", optimizer_.has_betas());
  // PyTorch keeps these in the optimizer's groups.
  f("max_lrs", max_lrs_);
  f("final_div_factor", final_div_factor_);
  if (cycle_momentum_) {
    f("base_momentums", base_momentums_);
    f("max_momentums", max_momentums_);
  }
  Scheduler::fields(f);
}

}  // namespace weft::optim
