#pragma once
#include <functional>
#include <map>

#include "optim/scheduler.h"

// Schedules of one formula. t: steps so far; lr: the rate in use; base: the rate before the first scheduler.
namespace weft::optim {

using LrLambda = std::function<double(int64_t)>;

/// base * f(t), with one function or one per group (torch.optim.lr_scheduler.LambdaLR).
class LambdaLR : public Scheduler {
 public:
  LambdaLR(Optimizer& optimizer, LrLambda f);
  LambdaLR(Optimizer& optimizer, std::vector<LrLambda> f);

 protected:
  std::vector<double> get_lr() override;
  void fields(detail::Fields& f) override;

 private:
  std::vector<LrLambda> functions_;
};

/// lr * f(t) at every step from t = 1 (torch.optim.lr_scheduler.MultiplicativeLR).
class MultiplicativeLR : public Scheduler {
 public:
  MultiplicativeLR(Optimizer& optimizer, LrLambda f);
  MultiplicativeLR(Optimizer& optimizer, std::vector<LrLambda> f);

 protected:
  std::vector<double> get_lr() override;
  void fields(detail::Fields& f) override;

 private:
  std::vector<LrLambda> functions_;
};

/// lr * gamma every step_size steps (torch.optim.lr_scheduler.StepLR).
class StepLR : public Scheduler {
 public:
  StepLR(Optimizer& optimizer, int64_t step_size, double gamma = 0.1);

 protected:
  std::vector<double> get_lr() override;
  std::vector<double> closed_form_lr() override;
  void fields(detail::Fields& f) override;

 private:
  int64_t step_size_;
  double gamma_;
};

/// lr * gamma at every milestone, as often as it is listed (torch.optim.lr_scheduler.MultiStepLR).
class MultiStepLR : public Scheduler {
 public:
  MultiStepLR(Optimizer& optimizer, const std::vector<int64_t>& milestones, double gamma = 0.1);

 protected:
  std::vector<double> get_lr() override;
  std::vector<double> closed_form_lr() override;
  void fields(detail::Fields& f) override;

 private:
  std::map<int64_t, int64_t> milestones_;  ///< how often, by step
  double gamma_;
};

/// base * factor for total_iters steps, then base (torch.optim.lr_scheduler.ConstantLR). Error: factor outside [0, 1].
class ConstantLR : public Scheduler {
 public:
  explicit ConstantLR(Optimizer& optimizer, double factor = 1.0 / 3, int64_t total_iters = 5);

 protected:
  std::vector<double> get_lr() override;
  std::vector<double> closed_form_lr() override;
  void fields(detail::Fields& f) override;

 private:
  double factor_;
  int64_t total_iters_;
};

struct LinearLROptions {
  double start_factor = 1.0 / 3;  ///< in (0, 1]
  double end_factor = 1;          ///< in [0, 1]
  int64_t total_iters = 5;
};
/// base * a factor that goes from start_factor to end_factor in total_iters steps
/// (torch.optim.lr_scheduler.LinearLR).
class LinearLR : public Scheduler {
 public:
  explicit LinearLR(Optimizer& optimizer, const LinearLROptions& options = {});

 protected:
  std::vector<double> get_lr() override;
  std::vector<double> closed_form_lr() override;
  void fields(detail::Fields& f) override;

 private:
  LinearLROptions options_;
};

/// lr * gamma at every step (torch.optim.lr_scheduler.ExponentialLR).
class ExponentialLR : public Scheduler {
 public:
  ExponentialLR(Optimizer& optimizer, double gamma);

 protected:
  std::vector<double> get_lr() override;
  std::vector<double> closed_form_lr() override;
  void fields(detail::Fields& f) override;

 private:
  double gamma_;
};

/// base * (1 - t / total_iters)^power, 0 from total_iters on (torch.optim.lr_scheduler.PolynomialLR).
class PolynomialLR : public Scheduler {
 public:
  explicit PolynomialLR(Optimizer& optimizer, int64_t total_iters = 5, double power = 1);

 protected:
  std::vector<double> get_lr() override;
  std::vector<double> closed_form_lr() override;
  void fields(detail::Fields& f) override;

 private:
  int64_t total_iters_;
  double power_;
};

/// eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2 (torch.optim.lr_scheduler.CosineAnnealingLR): up again after
/// T_max.
class CosineAnnealingLR : public Scheduler {
 public:
  CosineAnnealingLR(Optimizer& optimizer, int64_t T_max, double eta_min = 0);

 protected:
  std::vector<double> get_lr() override;
  std::vector<double> closed_form_lr() override;
  void fields(detail::Fields& f) override;

 private:
  int64_t T_max_;
  double eta_min_;
};

/// Half a cosine from base to eta_min in T_0 steps, then again in T_0 T_mult, ...
/// (torch.optim.lr_scheduler.CosineAnnealingWarmRestarts). Errors: T_0 or T_mult below 1.
class CosineAnnealingWarmRestarts : public Scheduler {
 public:
  CosineAnnealingWarmRestarts(Optimizer& optimizer, int64_t T_0, int64_t T_mult = 1, double eta_min = 0);
  using Scheduler::step;
  /// Goes to `epoch` (>= 0), which may be a fraction: epoch + batch / batches.
  void step(double epoch);

 protected:
  std::vector<double> get_lr() override;
  void advance() override;
  void fields(detail::Fields& f) override;

 private:
  int64_t T_0_, T_i_, T_mult_;
  double eta_min_, T_cur_ = -1;
};

struct CosineWithWarmupOptions {
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
  double min_factor = 0;  ///< of the base rate, reached at total_steps
};
/// Linear from 0 over warmup_steps, then half a cosine down to min_factor at total_steps, constant after.
class CosineWithWarmup : public Scheduler {
 public:
  CosineWithWarmup(Optimizer& optimizer, const CosineWithWarmupOptions& options);

 protected:
  std::vector<double> get_lr() override;
  void fields(detail::Fields& f) override;

 private:
  CosineWithWarmupOptions options_;
};

}  // namespace weft::optim
