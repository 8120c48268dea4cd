#include "nn/layers/linear.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise_api.h"
#include "nn/functional.h"
#include "nn/init.h"
#include "nn/layers/common.h"

namespace weft::nn {

Linear::Linear(int64_t in_features, int64_t out_features, const LinearOptions& o)
    : weight(*this, "weight", empty({out_features, in_features})),
      bias(*this, "bias", o.bias ? empty({out_features}) : Tensor()) {
  reset_parameters();
}
void Linear::reset_parameters() {
  init::kaiming_uniform_(weight, {.a = std::sqrt(5.0)});
  if (bias.defined()) detail::uniform_of_fan(bias, weight.size(1));
}
Tensor Linear::forward(const Tensor& x) const { return linear(x, weight, bias); }
std::string Linear::extra_repr() const {
  return detail::format("in_features={}, out_features={}, bias={}",
                        {weight.size(1), weight.size(0), detail::python_bool(bias.defined())});
}

Bilinear::Bilinear(int64_t in1, int64_t in2, int64_t out, const LinearOptions& o)
    : weight(*this, "weight", empty({out, in1, in2})), bias(*this, "bias", o.bias ? empty({out}) : Tensor()) {
  WEFT_CHECK(in1 > 0, "Bilinear: in1_features is {}; it must be positive", in1);
  reset_parameters();
}
void Bilinear::reset_parameters() {
  detail::uniform_of_fan(weight, weight.size(1));
  if (bias.defined()) detail::uniform_of_fan(bias, weight.size(1));
}
Tensor Bilinear::forward(const Tensor& x1, const Tensor& x2) const {
  return functional::bilinear(x1, x2, weight, bias);
}

}  // namespace weft::nn
