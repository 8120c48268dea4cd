#pragma once
#include "core/dispatch.h"

// Softmax and its logarithm along one dimension, of floats; x is converted to `dtype` first if given.
namespace weft {

/// exp(x) / sum exp(x); log of it; softmax(-x).
Tensor softmax(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});
Tensor log_softmax(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});
Tensor softmin(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});

// ---- records
struct SoftmaxAttrs {
  int dim;
};
struct SoftmaxOp {
  static const OpRecord record;
};
struct LogSoftmaxOp {
  static const OpRecord record;
};
struct SoftmaxBackwardOp {  ///< inputs: gradient, softmax
  static const OpRecord record;
};
struct LogSoftmaxBackwardOp {  ///< inputs: gradient, log_softmax
  static const OpRecord record;
};

namespace cpu {
void softmax(const OpCall& c);
void log_softmax(const OpCall& c);
void softmax_backward(const OpCall& c);
void log_softmax_backward(const OpCall& c);
}  // namespace cpu
namespace rules {
void softmax(Node& n, const Tensor* g, Tensor* gin);
void log_softmax(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
