#pragma once
#include "core/ops/pool.h"
#include "nn/module.h"

namespace weft::nn {

namespace detail {
/// A function of x and an extent (kernel or output size) with options.
template <class Self, class Options, Tensor (*function)(const Tensor&, const Extents&, const Options&)>
struct PoolLayer : Layer<Self> {
  PoolLayer(const Extents& kernel_size, const Options& o = {}) : kernel_size(kernel_size), options(o) {}
  PoolLayer(Module& parent, std::string_view name, const Extents& kernel_size, const Options& o = {})
      : Layer<Self>(parent, name), kernel_size(kernel_size), options(o) {}
  Tensor forward(const Tensor& x) const { return function(x, kernel_size, options); }
  Extents kernel_size;
  Options options;
};
template <class Self, class Options, Tensor (*function)(const Tensor&, const Extents&, const Options&),
          std::tuple<Tensor, Tensor> (*both)(const Tensor&, const Extents&, const Options&)>
struct MaxPoolLayer : PoolLayer<Self, Options, function> {
  using PoolLayer<Self, Options, function>::PoolLayer;
  /// The values and their places (return_indices=True).
  std::tuple<Tensor, Tensor> forward_with_indices(const Tensor& x) const {
    return both(x, this->kernel_size, this->options);
  }
};
template <class Self, Tensor (*function)(const Tensor&, const Extents&)>
struct AdaptivePoolLayer : Layer<Self> {
  AdaptivePoolLayer(const Extents& output_size) : output_size(output_size) {}
  AdaptivePoolLayer(Module& parent, std::string_view name, const Extents& output_size)
      : Layer<Self>(parent, name), output_size(output_size) {}
  Tensor forward(const Tensor& x) const { return function(x, output_size); }
  Extents output_size;
};
template <class Self, Tensor (*function)(const Tensor&, const Extents&),
          std::tuple<Tensor, Tensor> (*both)(const Tensor&, const Extents&)>
struct AdaptiveMaxPoolLayer : AdaptivePoolLayer<Self, function> {
  using AdaptivePoolLayer<Self, function>::AdaptivePoolLayer;
  std::tuple<Tensor, Tensor> forward_with_indices(const Tensor& x) const { return both(x, this->output_size); }
};
}  // namespace detail

/// Largest value of each window (torch.nn.MaxPool1d, ...): `MaxPool2d{2}`, `MaxPool2d{3, {.stride = 2, .padding = 1}}`.
struct MaxPool1d : detail::MaxPoolLayer<MaxPool1d, MaxPoolOptions, max_pool1d, max_pool1d_with_indices> {
  using MaxPoolLayer::MaxPoolLayer;
};
struct MaxPool2d : detail::MaxPoolLayer<MaxPool2d, MaxPoolOptions, max_pool2d, max_pool2d_with_indices> {
  using MaxPoolLayer::MaxPoolLayer;
};
struct MaxPool3d : detail::MaxPoolLayer<MaxPool3d, MaxPoolOptions, max_pool3d, max_pool3d_with_indices> {
  using MaxPoolLayer::MaxPoolLayer;
};
/// Mean of each window.
struct AvgPool1d : detail::PoolLayer<AvgPool1d, AvgPoolOptions, avg_pool1d> {
  using PoolLayer::PoolLayer;
};
struct AvgPool2d : detail::PoolLayer<AvgPool2d, AvgPoolOptions, avg_pool2d> {
  using PoolLayer::PoolLayer;
};
struct AvgPool3d : detail::PoolLayer<AvgPool3d, AvgPoolOptions, avg_pool3d> {
  using PoolLayer::PoolLayer;
};
/// Windows chosen for the given output size; kInputSize keeps a dimension.
struct AdaptiveAvgPool1d : detail::AdaptivePoolLayer<AdaptiveAvgPool1d, adaptive_avg_pool1d> {
  using AdaptivePoolLayer::AdaptivePoolLayer;
};
struct AdaptiveAvgPool2d : detail::AdaptivePoolLayer<AdaptiveAvgPool2d, adaptive_avg_pool2d> {
  using AdaptivePoolLayer::AdaptivePoolLayer;
};
struct AdaptiveAvgPool3d : detail::AdaptivePoolLayer<AdaptiveAvgPool3d, adaptive_avg_pool3d> {
  using AdaptivePoolLayer::AdaptivePoolLayer;
};
struct AdaptiveMaxPool1d
    : detail::AdaptiveMaxPoolLayer<AdaptiveMaxPool1d, adaptive_max_pool1d, adaptive_max_pool1d_with_indices> {
  using AdaptiveMaxPoolLayer::AdaptiveMaxPoolLayer;
};
struct AdaptiveMaxPool2d
    : detail::AdaptiveMaxPoolLayer<AdaptiveMaxPool2d, adaptive_max_pool2d, adaptive_max_pool2d_with_indices> {
  using AdaptiveMaxPoolLayer::AdaptiveMaxPoolLayer;
};
struct AdaptiveMaxPool3d
    : detail::AdaptiveMaxPoolLayer<AdaptiveMaxPool3d, adaptive_max_pool3d, adaptive_max_pool3d_with_indices> {
  using AdaptiveMaxPoolLayer::AdaptiveMaxPoolLayer;
};

}  // namespace weft::nn
