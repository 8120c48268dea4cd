#pragma once
#include "core/ops/batch_norm.h"
#include "core/ops/norm.h"
#include "nn/module.h"

namespace weft::nn {

struct BatchNormLayerOptions {
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  ///< none: running statistics are plain means over all batches
  bool affine = true;
  bool track_running_stats = true;
  bool bias = true;
};
struct InstanceNormLayerOptions {
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;
  bool affine = false;
  bool track_running_stats = false;
  bool bias = true;
};

namespace detail {
// Parameters and buffers of BatchNorm and InstanceNorm.
template <class Self, class Options>
struct ChannelNormLayer : Layer<Self> {
  ChannelNormLayer(int64_t num_features, const Options& o = {})
      : num_features(num_features),
        options(o),
        weight(*this, "weight", o.affine ? ones({num_features}) : Tensor()),
        bias(*this, "bias", o.affine && o.bias ? zeros({num_features}) : Tensor()),
        running_mean(*this, "running_mean", o.track_running_stats ? zeros({num_features}) : Tensor()),
        running_var(*this, "running_var", o.track_running_stats ? ones({num_features}) : Tensor()),
        num_batches_tracked(*this, "num_batches_tracked",
                            o.track_running_stats ? zeros({}, {.dtype = DType::i64}) : Tensor()) {}
  ChannelNormLayer(Module& parent, std::string_view name, int64_t num_features, const Options& o = {})
      : ChannelNormLayer(num_features, o) {
    parent.register_module(name, *this);
  }
  void reset_running_stats() {
    if (!running_mean.defined()) return;
    running_mean.zero_();
    running_var.fill_(1);
    num_batches_tracked.zero_();
  }

  int64_t num_features;
  Options options;
  Parameter weight, bias;
  Buffer running_mean, running_var, num_batches_tracked;

 protected:
  std::string extra_repr() const override;
};

struct BatchNormState {
  const char* name;
  int min_dims, max_dims;
  bool training;
};
Tensor batch_norm_forward(const BatchNormState& s, const Tensor& x, const BatchNormLayerOptions& o, int64_t features,
                          const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& var,
                          const Tensor& batches);
Tensor instance_norm_forward(const BatchNormState& s, const Tensor& x, const InstanceNormLayerOptions& o,
                             int64_t features, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                             const Tensor& var);
std::string channel_norm_repr(int64_t features, double eps, std::optional<double> momentum, bool affine, bool track);

template <class Self, class Options>
std::string ChannelNormLayer<Self, Options>::extra_repr() const {
  return channel_norm_repr(num_features, options.eps, options.momentum, options.affine, options.track_running_stats);
}
template <class Self, int min_dims, int max_dims>
struct BatchNormLayer : ChannelNormLayer<Self, BatchNormLayerOptions> {
  using ChannelNormLayer<Self, BatchNormLayerOptions>::ChannelNormLayer;
  Tensor forward(const Tensor& x) const {
    return batch_norm_forward({"BatchNorm", min_dims, max_dims, this->is_training()}, x, this->options,
                              this->num_features, this->weight, this->bias, this->running_mean, this->running_var,
                              this->num_batches_tracked);
  }
};
template <class Self, int dims>
struct InstanceNormLayer : ChannelNormLayer<Self, InstanceNormLayerOptions> {
  using ChannelNormLayer<Self, InstanceNormLayerOptions>::ChannelNormLayer;
  Tensor forward(const Tensor& x) const {
    return instance_norm_forward({"InstanceNorm", dims + 1, dims + 2, this->is_training()}, x, this->options,
                                 this->num_features, this->weight, this->bias, this->running_mean, this->running_var);
  }
};
}  // namespace detail

/// Every channel of [N, C] or [N, C, L] normalised over the batch (torch.nn.BatchNorm1d), of [N, C, H, W], of [N, C, D,
/// H, W]: statistics of the batch in training, running ones in evaluation.
struct BatchNorm1d : detail::BatchNormLayer<BatchNorm1d, 2, 3> {
  using BatchNormLayer::BatchNormLayer;
};
struct BatchNorm2d : detail::BatchNormLayer<BatchNorm2d, 4, 4> {
  using BatchNormLayer::BatchNormLayer;
};
struct BatchNorm3d : detail::BatchNormLayer<BatchNorm3d, 5, 5> {
  using BatchNormLayer::BatchNormLayer;
};
/// Every channel of every sample normalised over space (torch.nn.InstanceNorm1d, ...): [N, C, L] or [C, L], ...
struct InstanceNorm1d : detail::InstanceNormLayer<InstanceNorm1d, 1> {
  using InstanceNormLayer::InstanceNormLayer;
};
struct InstanceNorm2d : detail::InstanceNormLayer<InstanceNorm2d, 2> {
  using InstanceNormLayer::InstanceNormLayer;
};
struct InstanceNorm3d : detail::InstanceNormLayer<InstanceNorm3d, 3> {
  using InstanceNormLayer::InstanceNormLayer;
};

struct LayerNormLayerOptions {
  double eps = 1e-5;
  bool elementwise_affine = true;
  bool bias = true;
};
/// Normalises over the last dimensions, whose sizes are normalized_shape (torch.nn.LayerNorm): `LayerNorm{384}`,
/// `LayerNorm{{4, 8}}`.
struct LayerNorm : Layer<LayerNorm> {
  LayerNorm(const Dims& normalized_shape, const LayerNormLayerOptions& o = {});
  LayerNorm(int64_t size, const LayerNormLayerOptions& o = {}) : LayerNorm(Dims{size}, o) {}
  LayerNorm(Module& parent, std::string_view name, const Dims& normalized_shape, const LayerNormLayerOptions& o = {})
      : LayerNorm(normalized_shape, o) {
    parent.register_module(name, *this);
  }
  LayerNorm(Module& parent, std::string_view name, int64_t size, const LayerNormLayerOptions& o = {})
      : LayerNorm(parent, name, Dims{size}, o) {}
  Tensor forward(const Tensor& x) const {
    return layer_norm(x, normalized_shape, {.weight = weight, .bias = bias, .eps = eps});
  }

  Dims normalized_shape;
  double eps;
  Parameter weight, bias;

 protected:
  std::string extra_repr() const override;
};

struct GroupNormLayerOptions {
  double eps = 1e-5;
  bool affine = true;
  bool bias = true;
};
/// Normalises groups of channels of [N, C, ...] (torch.nn.GroupNorm). Error: groups that do not divide the channels.
struct GroupNorm : Layer<GroupNorm> {
  GroupNorm(int64_t num_groups, int64_t num_channels, const GroupNormLayerOptions& o = {});
  GroupNorm(Module& parent, std::string_view name, int64_t num_groups, int64_t num_channels,
            const GroupNormLayerOptions& o = {})
      : GroupNorm(num_groups, num_channels, o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x) const {
    return group_norm(x, num_groups, {.weight = weight, .bias = bias, .eps = eps});
  }

  int64_t num_groups;
  double eps;
  Parameter weight, bias;

 protected:
  std::string extra_repr() const override;
};

struct RmsNormLayerOptions {
  std::optional<double> eps = {};  ///< default: the machine epsilon of the dtype
  bool elementwise_affine = true;
};
/// x / sqrt(mean(x^2) + eps) * weight over the last dimensions (torch.nn.RMSNorm).
struct RMSNorm : Layer<RMSNorm> {
  RMSNorm(const Dims& normalized_shape, const RmsNormLayerOptions& o = {});
  RMSNorm(int64_t size, const RmsNormLayerOptions& o = {}) : RMSNorm(Dims{size}, o) {}
  RMSNorm(Module& parent, std::string_view name, const Dims& normalized_shape, const RmsNormLayerOptions& o = {})
      : RMSNorm(normalized_shape, o) {
    parent.register_module(name, *this);
  }
  RMSNorm(Module& parent, std::string_view name, int64_t size, const RmsNormLayerOptions& o = {})
      : RMSNorm(parent, name, Dims{size}, o) {}
  Tensor forward(const Tensor& x) const { return rms_norm(x, normalized_shape, {.weight = weight, .eps = eps}); }

  Dims normalized_shape;
  std::optional<double> eps;
  Parameter weight;
};

}  // namespace weft::nn
