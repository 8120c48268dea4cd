#pragma once
#include <map>
#include <optional>
#include <vector>

#include "optim/optimizer.h"

namespace weft::optim {

struct GradScalerOptions {
  double init_scale = 65536;
  double growth_factor = 2;        ///< on the scale after growth_interval updates without inf or NaN; above 1
  double backoff_factor = 0.5;     ///< on the scale after an update with some; in (0, 1)
  int64_t growth_interval = 2000;  ///< updates; at least 1
  bool enabled = true;             ///< false: scale() returns the loss, step() only steps
};

/// Multiplies the loss, so that small f16 gradients do not vanish, and takes that back before the update
/// (torch.amp.GradScaler). An update whose gradients hold inf or NaN is left out, and the scale falls.
///
///   optim::GradScaler scaler;
///   optimizer.zero_grad();
///   Tensor loss;
///   {
///     Autocast guard(device, DType::f16);
///     loss = cross_entropy(model(x), y);
///   }
///   scaler.scale(loss).backward();
///   scaler.unscale_(optimizer);                          // only needed to clip
///   nn::utils::clip_grad_norm_(model.parameters(), 1.0);
///   schedule.step(scaler.step(optimizer));               // a skipped update is no step of the schedule
///   scaler.update();
///
/// Several losses and optimizers share one scaler; update() comes once, after all of them. Between scale() and
/// unscale_(), clipping and optimizer.step() are errors that say so. bf16 has the range of f32 and needs no scaler: one
/// line on stderr says so, once per scaler.
class GradScaler {
 public:
  explicit GradScaler(const GradScalerOptions& options = {});

  /// loss times the scale.
  Tensor scale(const Tensor& loss);
  std::vector<Tensor> scale(const std::vector<Tensor>& losses);
  /// Divides the optimizer's gradients by the scale of the last scale(), in place, and looks for inf and NaN, in one
  /// pass. False, and nothing happens, when that was done already since the last update(). Errors: after step();
  /// gradients in f16 (of f16 parameters: keep those in f32).
  bool unscale_(Optimizer& optimizer);
  /// unscale_() unless done, then optimizer.step() unless a gradient holds inf or NaN. Reads one flag per device from
  /// it. Error: twice without update().
  StepResult step(Optimizer& optimizer);
  /// Lowers the scale when an optimizer met inf or NaN since the last update(), raises it after growth_interval times
  /// without; or sets it. Error: no optimizer was unscaled or stepped since the last time.
  void update(std::optional<double> new_scale = {});

  /// 1 when not enabled.
  double get_scale() const { return options_.enabled ? scale_ : 1; }
  bool is_enabled() const { return options_.enabled; }
  /// False once a loss came out of bf16 computation.
  bool is_needed() const { return needed_; }
  int64_t growth_tracker() const { return growth_tracker_; }
  const GradScalerOptions& options() const { return options_; }

  /// PyTorch's keys: scale, growth_factor, backoff_factor, growth_interval, _growth_tracker; empty when not enabled.
  Value state_dict() const;
  /// Nothing when not enabled. Errors: an empty state, a key is missing.
  void load_state_dict(const Value& state);

 private:
  struct State {
    std::vector<Tensor> found;  ///< flags of the devices
    bool unscaled = false, stepped = false;
  };
  GradScalerOptions options_;
  float scale_, applied_;  ///< now; of the last scale()
  int64_t growth_tracker_ = 0;
  bool needed_ = true;
  std::map<const Optimizer*, State> states_;  ///< since the last update()
};

}  // namespace weft::optim
