#pragma once
#include <string_view>

#include "core/dispatch.h"

// gather and scatter along one dimension: x[i][index[i][j]] for dim 1. index has x's number of dimensions, holds i64 in
// [0, x.size(dim)) and is no larger than x in the other dimensions. Methods are declared in core/tensor_methods.inc.
namespace weft {

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
/// A copy of x with x[..index..] = src; where an index appears again, the last wins.
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src);
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, Scalar value);
/// reduce: "add" or "multiply"; the latter has no gradient, as in PyTorch.
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src, std::string_view reduce);
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, Scalar value, std::string_view reduce);
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src);
/// gather with index and x broadcast in the other dimensions.
Tensor take_along_dim(const Tensor& x, const Tensor& index, int64_t dim);

// ---- records
struct GatherOp {
  struct Attrs {
    Dims input_sizes;
    int dim;
  };
  static const OpRecord record;
};
enum class ScatterMode : uint8_t { set, add, multiply };
struct ScatterOp {  ///< (self, index, src)
  struct Attrs {
    int dim;
    ScatterMode mode;
  };
  static const OpRecord set, add, multiply;
};

namespace cpu {
void gather(const OpCall& c);
void scatter(const OpCall& c);
}  // namespace cpu
namespace rules {
void gather(Node& n, const Tensor* g, Tensor* gin);
void scatter(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
