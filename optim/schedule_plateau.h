#pragma once
#include "optim/scheduler.h"

namespace weft::optim {

struct ReduceLROnPlateauOptions {
  std::string mode = "min";  ///< what is better: "min" or "max"
  double factor = 0.1;       ///< on the rate; below 1
  int64_t patience = 10;     ///< steps without an improvement that are let pass
  double threshold = 1e-4;   ///< what counts as an improvement: as a part of the best ("rel") or as it is ("abs")
  std::string threshold_mode = "rel";
  int64_t cooldown = 0;  ///< steps after a reduction that do not count
  PerGroup min_lr = 0.0;
  double eps = 1e-8;  ///< smaller changes are not made
};
/// Lowers the rates when a metric stops improving (torch.optim.lr_scheduler.ReduceLROnPlateau). Errors: factor 1 or
/// more, unknown modes, step() without a metric.
class ReduceLROnPlateau : public Scheduler {
 public:
  explicit ReduceLROnPlateau(Optimizer& optimizer, const ReduceLROnPlateauOptions& options = {});
  /// NaN is no improvement.
  void step(double metric);
  double best() const { return best_; }

 protected:
  std::vector<double> get_lr() override { return rates(); }
  void advance() override;
  void fields(detail::Fields& f) override;

 private:
  bool improves(double metric) const;
  void check_modes() const;
  ReduceLROnPlateauOptions options_;
  std::vector<double> min_lrs_;
  double best_;
  int64_t cooldown_counter_ = 0, num_bad_epochs_ = 0;
};

}  // namespace weft::optim
