#pragma once
#include "core/dispatch.h"

// Running sums and products along a dimension. Integers give i64 unless `dtype` says otherwise. f32 is summed in f64,
// halves in f32.
namespace weft {

Tensor cumsum(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});
Tensor cumprod(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});

struct ScanOp {
  struct Attrs {
    int dim;
    bool product;
  };
  static const OpRecord cumsum, cumprod;
};
namespace cpu {
void scan(const OpCall& c);
}
namespace rules {
void cumsum(Node& n, const Tensor* g, Tensor* gin);
void cumprod(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
