#include "optim/schedule_plateau.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace weft::optim {
namespace {

double worst(const std::string& mode) {
  return mode == "min" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
}

}  // namespace

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, const ReduceLROnPlateauOptions& o)
    : Scheduler(optimizer),
      options_(o),
      min_lrs_(o.min_lr.spread(groups(), "ReduceLROnPlateau: min_lr")),
      best_(worst(o.mode)) {
  WEFT_CHECK(o.factor < 1, "ReduceLROnPlateau: factor must be below 1, got {}", o.factor);
  check_modes();
  last_epoch_ = 0;
  last_lr_ = rates();
}

void ReduceLROnPlateau::check_modes() const {
  const auto& o = options_;
  WEFT_CHECK(o.mode == "min" || o.mode == "max", "ReduceLROnPlateau: mode must be min or max, got {}", o.mode);
  WEFT_CHECK(o.threshold_mode == "rel" || o.threshold_mode == "abs",
             "ReduceLROnPlateau: threshold_mode must be rel or abs, got {}", o.threshold_mode);
}

bool ReduceLROnPlateau::improves(double metric) const {
  const auto& o = options_;
  const bool relative = o.threshold_mode == "rel";
  if (o.mode == "min") return metric < (relative ? best_ * (1.0 - o.threshold) : best_ - o.threshold);
  return metric > (relative ? best_ * (o.threshold + 1.0) : best_ + o.threshold);
}

void ReduceLROnPlateau::advance() {
  WEFT_CHECK(false, "ReduceLROnPlateau: step() takes the metric to watch: step(validation_loss)");
}

void ReduceLROnPlateau::step(double metric) {
  ++last_epoch_;
  if (improves(metric)) {
    best_ = metric;
    num_bad_epochs_ = 0;
  } else {
    ++num_bad_epochs_;
  }
  if (cooldown_counter_ > 0) {
    --cooldown_counter_;
    num_bad_epochs_ = 0;
  }
  std::vector<double> now = rates();
  if (num_bad_epochs_ > options_.patience) {
    WEFT_CHECK(now.size() == min_lrs_.size(),
               "ReduceLROnPlateau: made for {} parameter groups, the optimizer has {} now; add groups before it",
               min_lrs_.size(), now.size());
    for (size_t g = 0; g < now.size(); ++g) {
      const double lower = std::max(now[g] * options_.factor, min_lrs_[g]);
      if (now[g] - lower > options_.eps) now[g] = lower;
    }
    cooldown_counter_ = options_.cooldown;
    num_bad_epochs_ = 0;
  }
  set_rates(now);
}

void ReduceLROnPlateau::fields(detail::Fields& f) {
  auto& o = options_;
  f("factor", o.factor);
  if (!f.loading()) f.save("default_min_lr", o.min_lr.values.size() == 1 ? Value(o.min_lr.values[0]) : Value());
  f("min_lrs", min_lrs_);
  f("patience", o.patience);
  f("cooldown", o.cooldown);
  f("eps", o.eps);
  f("last_epoch", last_epoch_);
  f("_last_lr", last_lr_);
  f("mode", o.mode);
  f("threshold", o.threshold);
  f("threshold_mode", o.threshold_mode);
  if (!f.loading()) f.save("mode_worse", worst(o.mode));
  f("best", best_);
  f("cooldown_counter", cooldown_counter_);
  f("num_bad_epochs", num_bad_epochs_);
  if (f.loading()) check_modes();
}

}  // namespace weft::optim
