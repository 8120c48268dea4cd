#include "optim/schedule.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace weft::optim {

Scheduler::Scheduler(Optimizer& optimizer) : optimizer_(optimizer) {
  for (size_t g = 0; g < optimizer.group_count(); ++g) base_lrs_.push_back(optimizer.lr(g));
}
void Scheduler::apply() {
  for (size_t g = 0; g < base_lrs_.size(); ++g) optimizer_.set_lr(g, base_lrs_[g] * factor(last_epoch_));
}
void Scheduler::step() {
  ++last_epoch_;
  apply();
}
std::vector<double> Scheduler::last_lr() const {
  std::vector<double> out;
  for (size_t g = 0; g < base_lrs_.size(); ++g) out.push_back(optimizer_.lr(g));
  return out;
}
Value Scheduler::state_dict() const { return {{"last_epoch", last_epoch_}, {"base_lrs", base_lrs_}}; }
void Scheduler::load_state_dict(const Value& state) {
  std::vector<double> base;
  for (const Value& v : state.at("base_lrs").as_list("base_lrs")) base.push_back(v.as_double("base_lrs"));
  WEFT_CHECK(base.size() == base_lrs_.size(), "load_state_dict: rates of {} groups saved, the optimizer has {}",
             base.size(), base_lrs_.size());
  last_epoch_ = state.at("last_epoch").as_int("last_epoch");
  base_lrs_ = std::move(base);
  apply();
}

StepLR::StepLR(Optimizer& optimizer, int64_t step_size, double gamma)
    : Scheduler(optimizer), step_size_(step_size), gamma_(gamma) {
  WEFT_CHECK(step_size > 0, "StepLR: step_size must be positive, got {}", step_size);
  apply();
}
double StepLR::factor(int64_t t) const { return std::pow(gamma_, static_cast<double>(t / step_size_)); }

CosineWithWarmup::CosineWithWarmup(Optimizer& optimizer, const CosineWithWarmupOptions& o)
    : Scheduler(optimizer), options_(o) {
  WEFT_CHECK(o.warmup_steps >= 0 && o.total_steps > o.warmup_steps,
             "CosineWithWarmup: needs 0 <= warmup_steps < total_steps, got {} and {}", o.warmup_steps, o.total_steps);
  apply();
}
double CosineWithWarmup::factor(int64_t t) const {
  const auto& o = options_;
  if (t < o.warmup_steps) return static_cast<double>(t) / static_cast<double>(o.warmup_steps);
  double done =
      std::min(1.0, static_cast<double>(t - o.warmup_steps) / static_cast<double>(o.total_steps - o.warmup_steps));
  return o.min_factor + (1 - o.min_factor) * 0.5 * (1 + std::cos(M_PI * done));
}

}  // namespace weft::optim
