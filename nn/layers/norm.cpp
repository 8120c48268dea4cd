#include "nn/layers/norm.h"

#include "core/error.h"
#include "core/host_read.h"
#include "core/recompute.h"
#include "core/thread_state.h"
#include "nn/layers/common.h"

namespace weft::nn {
namespace detail {

namespace {
void check_input(const BatchNormState& s, const Tensor& x, int64_t features, int channel_dim) {
  WEFT_CHECK(x.dim() >= s.min_dims && x.dim() <= s.max_dims, "{}: input {} must have {}{} dimensions", s.name, x,
             s.min_dims == s.max_dims ? std::string() : std::to_string(s.min_dims) + " or ", s.max_dims);
  WEFT_CHECK(x.size(channel_dim) == features, "{}: input {} has {} channels, the layer {}", s.name, x,
             x.size(channel_dim), features);
}
}  // namespace

Tensor batch_norm_forward(const BatchNormState& s, const Tensor& x, const BatchNormLayerOptions& o, int64_t features,
                          const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& var,
                          const Tensor& batches) {
  check_input(s, x, features, 1);
  WEFT_CHECK(o.eps > 0 || !s.training, "{}: eps is {}; in training it must be positive", s.name, o.eps);
  double momentum = o.momentum.value_or(0);
  if (s.training && batches.defined() && !weft::detail::is_recomputing()) {
    NoGrad guard;
    Tensor count = batches;
    count.add_(1);
    const weft::detail::HostRead read("batch norm without momentum: the weight of the average is a number of the host");
    if (!o.momentum) momentum = 1.0 / static_cast<double>(count.item<int64_t>());
  }
  const bool from_batch = s.training || !mean.defined();
  return batch_norm(x, mean, var,
                    {.weight = weight, .bias = bias, .training = from_batch, .momentum = momentum, .eps = o.eps});
}

Tensor instance_norm_forward(const BatchNormState& s, const Tensor& x, const InstanceNormLayerOptions& o,
                             int64_t features, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                             const Tensor& var) {
  WEFT_CHECK(x.dim() == s.min_dims || x.dim() == s.max_dims, "{}: input {} must have {} or {} dimensions", s.name, x,
             s.min_dims, s.max_dims);
  const bool single = x.dim() == s.min_dims;
  const int channel_dim = single ? 0 : 1;
  if (weight.defined() || mean.defined()) check_input(s, x, features, channel_dim);
  Tensor y = instance_norm(single ? x.unsqueeze(0) : x, mean, var,
                           {.weight = weight,
                            .bias = bias,
                            .use_input_stats = s.training || !mean.defined(),
                            .momentum = o.momentum.value_or(0),
                            .eps = o.eps});
  return single ? y.squeeze(0) : y;
}

std::string channel_norm_repr(int64_t features, double eps, std::optional<double> momentum, bool affine, bool track) {
  return format("{}, eps={}, momentum={}, affine={}, track_running_stats={}",
                {features, short_number(eps), momentum ? short_number(*momentum) : std::string("None"),
                 python_bool(affine), python_bool(track)});
}

}  // namespace detail

LayerNorm::LayerNorm(const Dims& shape, const LayerNormLayerOptions& o)
    : normalized_shape(shape),
      eps(o.eps),
      weight(*this, "weight", o.elementwise_affine ? ones(shape) : Tensor()),
      bias(*this, "bias", o.elementwise_affine && o.bias ? zeros(shape) : Tensor()) {}
std::string LayerNorm::extra_repr() const {
  return detail::format("{}, eps={}, elementwise_affine={}",
                        {normalized_shape, detail::short_number(eps), detail::python_bool(weight.defined())});
}

GroupNorm::GroupNorm(int64_t groups, int64_t channels, const GroupNormLayerOptions& o)
    : num_groups(groups),
      eps(o.eps),
      weight(*this, "weight", o.affine ? ones({channels}) : Tensor()),
      bias(*this, "bias", o.affine && o.bias ? zeros({channels}) : Tensor()) {
  WEFT_CHECK(groups > 0 && channels % groups == 0, "GroupNorm: {} groups do not divide {} channels", groups, channels);
}
std::string GroupNorm::extra_repr() const {
  return detail::format("{}, eps={}, affine={}",
                        {num_groups, detail::short_number(eps), detail::python_bool(weight.defined())});
}

RMSNorm::RMSNorm(const Dims& shape, const RmsNormLayerOptions& o)
    : normalized_shape(shape), eps(o.eps), weight(*this, "weight", o.elementwise_affine ? ones(shape) : Tensor()) {}

}  // namespace weft::nn
