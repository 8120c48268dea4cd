#pragma once
#include <tuple>

#include "core/dispatch.h"

// Order along one dimension. NaN counts as larger than every number, equal elements keep their order (always stable),
// indices are i64. Methods of Tensor are declared in core/tensor_methods.inc.
namespace weft {

/// {values, indices}
std::tuple<Tensor, Tensor> sort(const Tensor& x, int64_t dim = -1, bool descending = false, bool stable = false);
Tensor argsort(const Tensor& x, int64_t dim = -1, bool descending = false, bool stable = false);
/// The k largest (or smallest) elements, in order; among equal ones the first.
std::tuple<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim = -1, bool largest = true, bool sorted = true);
/// The k-th smallest element, k from 1.
std::tuple<Tensor, Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim = -1, bool keepdim = false);

struct SortOp {  ///< x -> (values, indices) of the first k in order
  struct Attrs {
    Dims input_sizes;
    int dim;
    int64_t k;
    bool descending;
  };
  static const OpRecord sort, topk;
};
namespace cpu {
void sort(const OpCall& c);
}
namespace rules {
void sort(Node& n, const Tensor* g, Tensor* gin);
}

}  // namespace weft
