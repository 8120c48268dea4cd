#pragma once
#include "core/dispatch.h"

// Copies, conversions and fills. The methods are declared in core/tensor_methods.inc.
namespace weft {

/// self <- src, broadcast and converted (Tensor::copy_), also from another device.
struct CopyOp {
  struct Attrs {
    bool non_blocking;  ///< copies between pinned host memory and a device are only put in
  };
  static const OpRecord record;
};
/// A new tensor of another dtype, layout or device with the same values (clone, contiguous, to); attributes of CopyOp.
struct ToCopyOp {
  static const OpRecord record;
};
/// self <- a number.
struct FillOp {
  struct Attrs {
    Scalar value;
  };
  static const OpRecord record;
};

namespace cpu {
void copy(const OpCall& c);  // out[0] <- in[last]
void fill(const OpCall& c);
}  // namespace cpu
namespace rules {
void copy(Node& n, const Tensor* g, Tensor* gin);
void to_copy(Node& n, const Tensor* g, Tensor* gin);
void fill(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

/// torch.fill: a copy of x filled with value.
Tensor fill(const Tensor& x, Scalar value);
Tensor fill(const Tensor& x, const Tensor& value);

}  // namespace weft
