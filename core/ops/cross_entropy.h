#pragma once
#include "core/ops/loss_api.h"

// Records of nll_loss and cross_entropy over class indices, in one pass over the rows of classes.
namespace weft {

struct ClassLossAttrs {
  int dim;      ///< of the classes in the input
  bool logits;  ///< false: the input holds log-probabilities (nll_loss)
  Reduction reduction;
  int64_t ignore_index;
  double smoothing;
};
/// Inputs: x, target, weight; outputs: loss, largest value and log of the sum per row [2, rows], sum of the target
/// weights.
struct ClassLossOp {
  static const OpRecord nll;
  static const OpRecord cross_entropy;
};
/// Inputs: gradient, x, target, weight, the last two outputs above; output: gradient of x.
struct ClassLossBackwardOp {
  static const OpRecord record;
};

namespace cpu {
void class_loss(const OpCall& c);
void class_loss_backward(const OpCall& c);
}  // namespace cpu
namespace rules {
void class_loss(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
