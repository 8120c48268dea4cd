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
/// Inputs: x, target, weight; outputs: loss, largest value and log of the sum of each row [rows, 2], sum of the target
/// weights.
struct ClassLossOp {
  static const OpRecord nll;
  static const OpRecord cross_entropy;
};
/// Inputs: gradient, x, target, weight, the last two outputs above; output: gradient of x.
struct ClassLossBackwardOp {
  static const OpRecord record;
};

struct RowBlock;  // core/row_wise.h
namespace cpu {
void class_loss(const OpCall& c);
void class_loss_backward(const OpCall& c);
void class_loss_block(const OpCall& c, const RowBlock& b);
void class_loss_finish(const OpCall& c, void* partial);
}  // namespace cpu
namespace rules {
void class_loss(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
