#pragma once
#include <vector>

#include "optim/optimizer.h"

namespace weft::optim {

/// Sets the learning rates of an optimizer's groups step by step. The rates the groups had when the scheduler was made
/// are the base; making it sets those of step 0. step() goes on by one.
class Scheduler {
 public:
  explicit Scheduler(Optimizer& optimizer);
  virtual ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void step();
  int64_t last_epoch() const { return last_epoch_; }
  /// The rates now in use, by group.
  std::vector<double> last_lr() const;
  Value state_dict() const;
  void load_state_dict(const Value& state);

 protected:
  /// The factor on the base rate after `t` steps.
  virtual double factor(int64_t t) const = 0;
  void apply();

 private:
  Optimizer& optimizer_;
  std::vector<double> base_lrs_;
  int64_t last_epoch_ = 0;
};

/// lr * gamma^(t / step_size) (torch.optim.lr_scheduler.StepLR).
class StepLR : public Scheduler {
 public:
  StepLR(Optimizer& optimizer, int64_t step_size, double gamma = 0.1);

 protected:
  double factor(int64_t t) const override;

 private:
  int64_t step_size_;
  double gamma_;
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
  double factor(int64_t t) const override;

 private:
  CosineWithWarmupOptions options_;
};

}  // namespace weft::optim
