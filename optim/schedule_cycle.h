#pragma once
#include <functional>
#include <optional>

#include "optim/scheduler.h"

// Schedules that move the momentum against the learning rate: SGD's momentum, the first beta of Adam.
namespace weft::optim {

struct CyclicLROptions {
  PerGroup base_lr = 0.0;
  PerGroup max_lr = 0.0;
  int64_t step_size_up = 2000;
  int64_t step_size_down = 0;       ///< 0: as step_size_up
  std::string mode = "triangular";  ///< "triangular2": half the height each cycle; "exp_range": times gamma^t
  double gamma = 1;
  std::function<double(double)> scale_fn = nullptr;  ///< replaces mode: the height by cycle or by step (scale_mode)
  std::string scale_mode = "cycle";                  ///< or "iterations"
  bool cycle_momentum = true;
  PerGroup base_momentum = 0.8;
  PerGroup max_momentum = 0.9;
};
/// Linear from base_lr up to max_lr and down again, over and over (torch.optim.lr_scheduler.CyclicLR). Errors: an
/// unknown mode; cycle_momentum with an optimizer that has neither momentum nor betas.
class CyclicLR : public Scheduler {
 public:
  CyclicLR(Optimizer& optimizer, const CyclicLROptions& options);

 protected:
  std::vector<double> get_lr() override;
  void fields(detail::Fields& f) override;

 private:
  double height(double cycle) const;
  std::vector<double> max_lrs_, base_momentums_, max_momentums_;
  double total_size_ = 0, step_ratio_ = 0, gamma_ = 1;
  std::string mode_, scale_mode_;
  std::function<double(double)> scale_fn_;
  bool cycle_momentum_ = true;
};

struct OneCycleLROptions {
  PerGroup max_lr = 0.0;
  std::optional<int64_t> total_steps = {};  ///< or epochs and steps_per_epoch
  std::optional<int64_t> epochs = {};
  std::optional<int64_t> steps_per_epoch = {};
  double pct_start = 0.3;               ///< the part of total_steps that the rate rises in
  std::string anneal_strategy = "cos";  ///< or "linear"
  bool cycle_momentum = true;
  PerGroup base_momentum = 0.85;
  PerGroup max_momentum = 0.95;
  double div_factor = 25;         ///< first rate: max_lr / div_factor
  double final_div_factor = 1e4;  ///< last rate: first rate / final_div_factor
  bool three_phase = false;       ///< down to the first rate as fast as up, then to the last
};
/// Up to max_lr and down far below the first rate (torch.optim.lr_scheduler.OneCycleLR; Smith and Topin 2017). Errors:
/// no or negative numbers of steps, pct_start outside [0, 1], more steps than total_steps.
class OneCycleLR : public Scheduler {
 public:
  OneCycleLR(Optimizer& optimizer, const OneCycleLROptions& options);

 protected:
  std::vector<double> get_lr() override;
  void fields(detail::Fields& f) override;

 private:
  enum Point { kFirst, kMax, kLast };  ///< of the rates
  struct Phase {
    double end_step;
    Point from, to;
    bool momentum_from_max, momentum_to_max;
  };
  void set_phases(double pct_start, bool three_phase);
  double anneal(double from, double to, double part) const;
  double rate(size_t group, Point p) const;
  int64_t total_steps_ = 0;
  std::vector<Phase> phases_;
  std::string anneal_strategy_;
  std::vector<double> max_lrs_, base_momentums_, max_momentums_;
  double final_div_factor_;
  bool cycle_momentum_;
};

}  // namespace weft::optim
