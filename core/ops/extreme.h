#pragma once
#include "core/ops/reduce.h"

// Largest and smallest elements and where they are. NaN wins; among equals the first place. Errors: nothing to reduce.
// The methods are declared in core/tensor_methods.inc.
namespace weft {

/// Of all elements, 0-dim; elements that tie share the gradient evenly.
Tensor max(const Tensor& x);
Tensor min(const Tensor& x);
/// Values and i64 indices along `dim`; the gradient goes to the element of the index.
std::tuple<Tensor, Tensor> max(const Tensor& x, int64_t dim, bool keepdim = false);
std::tuple<Tensor, Tensor> min(const Tensor& x, int64_t dim, bool keepdim = false);
/// Elementwise: maximum, minimum.
Tensor max(const Tensor& a, const Tensor& b);
Tensor min(const Tensor& a, const Tensor& b);
/// i64 indices along `dim`, or into the flattened tensor.
Tensor argmax(const Tensor& x, std::optional<int64_t> dim = {}, bool keepdim = false);
Tensor argmin(const Tensor& x, std::optional<int64_t> dim = {}, bool keepdim = false);
/// amin and amax at once.
std::tuple<Tensor, Tensor> aminmax(const Tensor& x, std::optional<int64_t> dim = {}, bool keepdim = false);

// ---- records
struct MaxDimOp {  ///< outputs: values, indices
  static const OpRecord record;
};
struct MinDimOp {
  static const OpRecord record;
};
struct ArgmaxOp {  ///< output: indices
  static const OpRecord record;
};
struct ArgminOp {
  static const OpRecord record;
};

namespace cpu {
void max_index(const OpCall& c);
void min_index(const OpCall& c);
}  // namespace cpu
namespace rules {
void selected(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
