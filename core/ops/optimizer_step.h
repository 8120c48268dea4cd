#pragma once
#include "core/dispatch.h"

// One optimizer update of many tensors in one pass. Inputs come per parameter, `stride` of them each, all of one layout
// and one floating dtype; arithmetic is f32 for f32, bf16 and f16, f64 for f64. The parameter and its state are changed
// in place.
namespace weft {

/// Inputs per parameter: p, g[, momentum buffer].
struct SgdStepOp {
  struct Attrs {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, maximize;
    bool first;  ///< the buffer is not initialised yet: it becomes the gradient
  };
  static const OpRecord record;
};

/// Inputs per parameter: p, g, exp_avg, exp_avg_sq[, max_exp_avg_sq].
struct AdamStepOp {
  struct Attrs {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;    ///< 1 at the first update
    bool decoupled;  ///< AdamW: decay the parameter, not the gradient
    bool amsgrad, maximize;
  };
  static const OpRecord record;
};

/// Inputs: any number of gradients, multiplied in place by `factor` (arithmetic as above), and last an f32 tensor of
/// one element per device, which becomes 1 when any of them holds inf or NaN
/// (torch._amp_foreach_non_finite_check_and_unscale_).
struct UnscaleOp {
  struct Attrs {
    double factor;
  };
  static const OpRecord record;
};

/// The 2-norm of all elements of many tensors of a device, as norm(stack(norms)) gives it, without its launches.
struct TotalNormOp {  ///< contiguous floating tensors -> [], of their promoted dtype
  static const OpRecord record;
};
/// Tensors of a device times min(1, max_norm / (total + 1e-6)), which the host never sees.
struct ScaleDownOp {  ///< in[0]: total []; the others, dense and apart from each other, are changed in place
  struct Attrs {
    double max_norm;
  };
  static const OpRecord record;
};
/// Null where `tensors` are not all floating and on one device with a kernel for it.
Tensor total_norm(const std::vector<Tensor>& tensors);
/// False, and nothing has changed, where there is no kernel for `tensors` together.
bool scale_down(const std::vector<Tensor>& tensors, const Tensor& total, double max_norm);

/// Runs the update on `tensors` (n parameters times `stride` inputs) and bumps the versions of what it changed.
void optimizer_step(const OpRecord& op, const std::vector<Tensor>& tensors, const SgdStepOp::Attrs& a);
void optimizer_step(const OpRecord& op, const std::vector<Tensor>& tensors, const AdamStepOp::Attrs& a);

/// UnscaleOp on all `gradients`; one flag per device among them, none without gradients.
std::vector<Tensor> unscale(const std::vector<Tensor>& gradients, double factor);

namespace cpu {
void unscale(const OpCall& c);
void sgd_step(const OpCall& c);
void adam_step(const OpCall& c);
}  // namespace cpu

}  // namespace weft
