#pragma once
#include "core/dispatch.h"

// Reductions over dimensions. The methods are declared in core/tensor_methods.inc; the free functions below mirror
// PyTorch's. No dimension given: over all elements. Sums follow core/reduction_order.h, so their bits depend on shape
// and dtype alone.
namespace weft {

/// Sum, product. Integers and bool give i64 unless o.dtype says otherwise; elements are converted to o.dtype first.
Tensor sum(const Tensor& x, const ReduceOptions& o = {});
Tensor prod(const Tensor& x, const ReduceOptions& o = {});
/// Of floats; other dtypes need o.dtype.
Tensor mean(const Tensor& x, const ReduceOptions& o = {});
/// Largest and smallest values; NaN wins; ties share the gradient evenly. Error: nothing to reduce.
Tensor amax(const Tensor& x, const ReduceOptions& o = {});
Tensor amin(const Tensor& x, const ReduceOptions& o = {});
/// Is one element / are all elements different from 0 (bool; u8 for u8).
Tensor any(const Tensor& x, const ReduceOptions& o = {});
Tensor all(const Tensor& x, const ReduceOptions& o = {});

// ---- records
struct ReduceAttrs {
  unsigned mask;  ///< bit d: dimension d is reduced
  bool keepdim;
  Dims sizes;      ///< of the input
  double divisor;  ///< the result is divided by it (mean); 1: not
};
struct SumOp {
  static const OpRecord record;
};
struct MeanOp {
  static const OpRecord record;
};
struct ProdOp {
  static const OpRecord record;
};
struct AmaxOp {
  static const OpRecord record;
};
struct AminOp {
  static const OpRecord record;
};
struct MaxOp {  ///< of all elements
  static const OpRecord record;
};
struct MinOp {
  static const OpRecord record;
};
struct AnyOp {
  static const OpRecord record;
};
struct AllOp {
  static const OpRecord record;
};

namespace cpu {
void reduce_sum(const OpCall& c);
void reduce_prod(const OpCall& c);
void reduce_max(const OpCall& c);
void reduce_min(const OpCall& c);
void reduce_any(const OpCall& c);
void reduce_all(const OpCall& c);
}  // namespace cpu
namespace rules {
void sum(Node& n, const Tensor* g, Tensor* gin);
void prod(Node& n, const Tensor* g, Tensor* gin);
void extreme(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

namespace detail {
/// Bit per dimension; none given: all. Errors: out of range, twice the same.
unsigned reduced_dims(const Tensor& x, const DimList& dims, const char* op);
/// `sizes` without the dimensions of `mask`, or with 1 in their place.
Dims reduced_sizes(const Dims& sizes, unsigned mask, bool keepdim);
/// max() or min() of all elements.
Tensor reduce_extreme(bool largest, const Tensor& x);
/// Product of the sizes in `mask`.
int64_t reduced_count(const Dims& sizes, unsigned mask);
/// A reduction's result (or its gradient) with the reduced dimensions back as 1.
Tensor restore_dims(const Tensor& reduced, const Dims& sizes, unsigned mask, bool keepdim);
}  // namespace detail

}  // namespace weft
