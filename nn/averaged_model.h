#pragma once
#include <optional>
#include <utility>

#include "nn/module.h"

namespace weft::nn {

struct AveragedModelOptions {
  /// Of an exponential moving average, in [0, 1]: average = decay average + (1 - decay) parameter, PyTorch's
  /// get_ema_multi_avg_fn(decay). None: the mean of all models seen (stochastic weight averaging).
  std::optional<double> ema_decay = {};
  bool use_buffers = false;           ///< average floating buffers too; otherwise they are copied
  std::optional<Device> device = {};  ///< where the average lives; default: where the model does
};

namespace detail {
void check_averaging(const AveragedModelOptions& o);
void update_average(Module& average, const Module& model, Tensor& n_averaged, const AveragedModelOptions& o);
}  // namespace detail

/// An average of a model's parameters over training (torch.optim.swa_utils.AveragedModel), often better than the last
/// ones: call update_parameters() behind every optimizer step, use `module` for evaluation.
///
///     nn::AveragedModel ema(model, {.ema_decay = 0.999});
///     ... optimizer.step(); ema.update_parameters(model);
///     ema(x)
///
/// state_dict() is PyTorch's: "n_averaged", "module.NAME", ... The first update copies.
template <class M>
requires std::derived_from<M, Module>
class AveragedModel : public Module {
 public:
  /// Starts with a copy of `model`; weft::Error for a decay outside [0, 1].
  explicit AveragedModel(const M& model, const AveragedModelOptions& options = {})
      : module(clone(model)),
        n_averaged(*this, "n_averaged",
                   scalar_tensor(0, {.dtype = DType::i64, .device = options.device.value_or(Device())})),
        options_(options) {
    detail::check_averaging(options);
    if (options.device) module.to(*options.device);
    module.requires_grad_(false);
    register_module("module", module);
  }

  /// Takes in the parameters that `model` has now. weft::Error when its parameters have other names or shapes.
  void update_parameters(const M& model) { detail::update_average(module, model, n_averaged, options_); }

  template <class... A>
  auto operator()(A&&... a) {
    return module(std::forward<A>(a)...);
  }

  M module;
  Buffer n_averaged;  ///< i64 scalar: models seen

 private:
  AveragedModelOptions options_;
};

}  // namespace weft::nn
