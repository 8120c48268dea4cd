#pragma once
#include <memory>

#include "optim/scheduler.h"

// Schedules made of others, which must all be of one optimizer and made just before; none may be a ReduceLROnPlateau.
namespace weft::optim {

using Schedulers = std::vector<std::shared_ptr<Scheduler>>;

/// Every step is a step of all, in order; their factors multiply (torch.optim.lr_scheduler.ChainedScheduler).
class ChainedScheduler : public Scheduler {
 public:
  explicit ChainedScheduler(Schedulers schedulers);

 protected:
  std::vector<double> get_lr() override { return rates(); }
  void advance() override;
  void fields(detail::Fields& f) override;

 private:
  void undo_start() override;
  Schedulers schedulers_;
};

/// The first until step milestones[0], then the second from its start, ... (torch.optim.lr_scheduler.SequentialLR).
/// Error: not one milestone less than schedulers.
///
///   auto warm = std::make_shared<optim::LinearLR>(optimizer, optim::LinearLROptions{.total_iters = 100});
///   auto decay = std::make_shared<optim::CosineAnnealingLR>(optimizer, 900);
///   optim::SequentialLR schedule(optimizer, {warm, decay}, {100});
class SequentialLR : public Scheduler {
 public:
  SequentialLR(Optimizer& optimizer, Schedulers schedulers, std::vector<int64_t> milestones);

 protected:
  std::vector<double> get_lr() override { return rates(); }
  void advance() override;
  void fields(detail::Fields& f) override;

 private:
  void undo_start() override;
  size_t active(int64_t step) const;
  Schedulers schedulers_;
  std::vector<int64_t> milestones_;
};

}  // namespace weft::optim
