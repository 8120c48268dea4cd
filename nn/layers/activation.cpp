#include "nn/layers/activation.h"

#include "core/error.h"

namespace weft::nn {

Tensor Softmax2d::forward(const Tensor& x) const {
  WEFT_CHECK(x.dim() == 3 || x.dim() == 4, "Softmax2d: input {} must have 3 or 4 dimensions", x);
  return softmax(x, -3);
}
GELU::GELU(const GeluOptions& o) : tanh(o.approximate == "tanh") {
  WEFT_CHECK(tanh || o.approximate == "none", "GELU: approximate is \"{}\"; use \"none\" or \"tanh\"", o.approximate);
}

}  // namespace weft::nn
