#pragma once
#include "core/ops/dropout.h"
#include "nn/layers/common.h"

// Active in training only (torch.nn.Dropout, ...). Errors: p outside [0, 1].
namespace weft::nn {

namespace detail {
void check_probability(double p);

template <class Self, Tensor (*function)(const Tensor&, double, bool, Generator*)>
struct DropoutLayer : Layer<Self> {
  DropoutLayer(double p = 0.5) : p(checked(p)) {}
  DropoutLayer(Module& parent, std::string_view name, double p = 0.5) : Layer<Self>(parent, name), p(checked(p)) {}
  Tensor forward(const Tensor& x) const { return function(x, p, this->is_training(), nullptr); }
  double p;

 protected:
  std::string extra_repr() const override { return "p=" + short_number(p); }

 private:
  static double checked(double p) {
    check_probability(p);
    return p;
  }
};
}  // namespace detail

/// Single elements.
struct Dropout : detail::DropoutLayer<Dropout, dropout> {
  using DropoutLayer::DropoutLayer;
};
/// Whole channels of [N, C, L], [N, C, H, W], [N, C, D, H, W].
struct Dropout1d : detail::DropoutLayer<Dropout1d, dropout1d> {
  using DropoutLayer::DropoutLayer;
};
struct Dropout2d : detail::DropoutLayer<Dropout2d, dropout2d> {
  using DropoutLayer::DropoutLayer;
};
struct Dropout3d : detail::DropoutLayer<Dropout3d, dropout3d> {
  using DropoutLayer::DropoutLayer;
};
/// Keep mean and variance of selu activations.
struct AlphaDropout : detail::DropoutLayer<AlphaDropout, alpha_dropout> {
  using DropoutLayer::DropoutLayer;
};
struct FeatureAlphaDropout : detail::DropoutLayer<FeatureAlphaDropout, feature_alpha_dropout> {
  using DropoutLayer::DropoutLayer;
};

}  // namespace weft::nn
