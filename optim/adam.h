#pragma once
#include <array>

#include "optim/optimizer.h"

namespace weft::optim {

struct AdamOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  bool amsgrad = false;
  bool maximize = false;
  bool decoupled_weight_decay = false;  ///< AdamW's decay of the parameter instead of the gradient
};
struct AdamWOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 1e-2;
  bool amsgrad = false;
  bool maximize = false;
};

/// Of one parameter; made at its first update.
struct AdamState {
  int64_t step = 0;
  Tensor exp_avg, exp_avg_sq, max_exp_avg_sq;
};

/// Adam (torch.optim.Adam; Kingma and Ba 2015). Errors: negative lr, eps or weight_decay; betas outside [0, 1).
class Adam : public OptimizerOf<AdamOptions, AdamState> {
 public:
  explicit Adam(std::vector<Tensor> params, const AdamOptions& options = {}) {
    add_param_group(std::move(params), options);
  }
  void add_param_group(std::vector<Tensor> params, const AdamOptions& options);
  void step() override;
  Value state_dict() const override;
  void load_state_dict(const Value& state) override;

 protected:
  Adam() = default;
};

/// Adam with decoupled weight decay (torch.optim.AdamW; Loshchilov and Hutter 2019).
class AdamW : public Adam {
 public:
  explicit AdamW(std::vector<Tensor> params, const AdamWOptions& options = {}) {
    add_param_group(std::move(params), options);
  }
  void add_param_group(std::vector<Tensor> params, const AdamWOptions& o) {
    Adam::add_param_group(std::move(params), {.lr = o.lr,
                                              .betas = o.betas,
                                              .eps = o.eps,
                                              .weight_decay = o.weight_decay,
                                              .amsgrad = o.amsgrad,
                                              .maximize = o.maximize,
                                              .decoupled_weight_decay = true});
  }
};

}  // namespace weft::optim
