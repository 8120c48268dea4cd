#pragma once
#include "core/dispatch.h"

// Normalisation of every channel over the batch and space (torch.nn.functional.batch_norm, instance_norm).
namespace weft {

struct BatchNormOptions {
  Tensor weight = {};     ///< [C], multiplied on; none: 1
  Tensor bias = {};       ///< [C], added; none: 0
  bool training = false;  ///< statistics of x, which also update the running ones; else the running ones
  double momentum = 0.1;  ///< running = (1 - momentum) running + momentum statistics of x
  double eps = 1e-5;
};
/// (x - mean) / sqrt(var + eps) * weight + bias per channel of x [N, C, ...], with the biased variance. running_mean
/// and running_var [C] (both or none; needed unless training) are updated in place, the latter with the unbiased
/// variance. f32 f64 bf16 f16; the [C] tensors may be f32 where x is bf16 or f16. Channels-last where x is.
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const BatchNormOptions& o = {});

struct InstanceNormOptions {
  Tensor weight = {};
  Tensor bias = {};
  bool use_input_stats = true;  ///< else the running statistics
  double momentum = 0.1;
  double eps = 1e-5;
};
/// The same over space alone: every (sample, channel) for itself. Running statistics take the mean over the batch.
Tensor instance_norm(const Tensor& x, const Tensor& running_mean = {}, const Tensor& running_var = {},
                     const InstanceNormOptions& o = {});

// ---- records
struct BatchNormAttrs {
  bool training = false;
  MemoryFormat format = MemoryFormat::contiguous;
  double momentum = 0, eps = 0;
};
/// (x, weight, bias, running_mean, running_var) -> (y, mean, 1 / sqrt(var + eps)); updates the running statistics.
struct BatchNormOp {
  static const OpRecord record;
};
/// (dy, x, weight, mean, rstd) -> (dx, dweight, dbias).
struct BatchNormBackwardOp {
  static const OpRecord record;
};

namespace cpu {
void batch_norm(const OpCall& c);
void batch_norm_backward(const OpCall& c);
}  // namespace cpu
namespace rules {
void batch_norm(Node& n, const Tensor* g, Tensor* gin);
void batch_norm_backward(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
