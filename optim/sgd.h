#pragma once
#include "optim/optimizer.h"

namespace weft::optim {

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  bool maximize = false;
};

/// Stochastic gradient descent (torch.optim.SGD). Errors: negative lr, momentum or weight_decay; nesterov without
/// momentum or with dampening.
class SGD : public OptimizerOf<SGDOptions, Tensor> {
 public:
  explicit SGD(std::vector<Tensor> params, const SGDOptions& options = {}) {
    add_param_group(std::move(params), options);
  }
  void add_param_group(std::vector<Tensor> params, const SGDOptions& options);
  void step() override;
  Value state_dict() const override;
  void load_state_dict(const Value& state) override;
};

}  // namespace weft::optim
