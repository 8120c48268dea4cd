#include "nn/functional.h"

#include "core/error.h"

namespace weft::nn::functional {

// sum_ij x1_i W_kij x2_j as one product: [rows, in1] x [in1, out in2], times x2, summed over in2.
Tensor bilinear(const Tensor& x1, const Tensor& x2, const Tensor& weight, const Tensor& bias) {
  WEFT_CHECK(weight.dim() == 3, "bilinear: the weight must be [out, in1, in2]; got {}", weight);
  const int64_t out = weight.size(0), in1 = weight.size(1), in2 = weight.size(2);
  WEFT_CHECK(x1.dim() > 0 && x1.dim() == x2.dim() && x1.size(-1) == in1 && x2.size(-1) == in2,
             "bilinear: {} and {} do not fit the weight {}", x1, x2, weight);
  Dims sizes = x1.sizes();
  for (int d = 0; d + 1 < x1.dim(); ++d)
    WEFT_CHECK(x1.size(d) == x2.size(d), "bilinear: {} and {} differ before the last dimension", x1, x2);
  sizes.back() = out;
  Tensor left = x1.reshape({-1, in1}).matmul(weight.transpose(0, 1).reshape({in1, out * in2})).view({-1, out, in2});
  Tensor y = left.matmul(x2.reshape({-1, in2, 1})).view(sizes);
  return bias.defined() ? y.add(bias) : y;
}

}  // namespace weft::nn::functional
