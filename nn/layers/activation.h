#pragma once
#include "core/ops/dropout.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/shape.h"
#include "core/ops/softmax.h"
#include "nn/module.h"

// The activations of torch.nn: layers around the functions of the same name.
namespace weft::nn {

namespace detail {
template <class Self, Tensor (*function)(const Tensor&)>
struct Activation : Layer<Self> {
  using Layer<Self>::Layer;
  Tensor forward(const Tensor& x) const { return function(x); }
};
/// With one number.
template <class Self, Tensor (*function)(const Tensor&, double)>
struct Activation1 : Layer<Self> {
  Activation1(double value = Self::kDefault) : value(value) {}
  Activation1(Module& parent, std::string_view name, double value = Self::kDefault)
      : Layer<Self>(parent, name), value(value) {}
  Tensor forward(const Tensor& x) const { return function(x, value); }
  double value;
};
/// Along one dimension.
template <class Self, Tensor (*function)(const Tensor&, int64_t, std::optional<DType>)>
struct DimActivation : Layer<Self> {
  DimActivation(int64_t dim) : dim(dim) {}
  DimActivation(Module& parent, std::string_view name, int64_t dim) : Layer<Self>(parent, name), dim(dim) {}
  Tensor forward(const Tensor& x) const { return function(x, dim, {}); }
  int64_t dim;
};
}  // namespace detail

struct ReLU : detail::Activation<ReLU, relu> {
  using Activation::Activation;
};
struct ReLU6 : detail::Activation<ReLU6, relu6> {
  using Activation::Activation;
};
struct Sigmoid : detail::Activation<Sigmoid, sigmoid> {
  using Activation::Activation;
};
struct Tanh : detail::Activation<Tanh, tanh> {
  using Activation::Activation;
};
struct SiLU : detail::Activation<SiLU, silu> {
  using Activation::Activation;
};
struct Mish : detail::Activation<Mish, mish> {
  using Activation::Activation;
};
struct SELU : detail::Activation<SELU, selu> {
  using Activation::Activation;
};
struct Hardswish : detail::Activation<Hardswish, hardswish> {
  using Activation::Activation;
};
struct Hardsigmoid : detail::Activation<Hardsigmoid, hardsigmoid> {
  using Activation::Activation;
};
struct LogSigmoid : detail::Activation<LogSigmoid, logsigmoid> {
  using Activation::Activation;
};
struct Softsign : detail::Activation<Softsign, softsign> {
  using Activation::Activation;
};
struct Tanhshrink : detail::Activation<Tanhshrink, tanhshrink> {
  using Activation::Activation;
};

/// `LeakyReLU{0.2}`: the slope below 0.
struct LeakyReLU : detail::Activation1<LeakyReLU, leaky_relu> {
  static constexpr double kDefault = 0.01;
  using Activation1::Activation1;
};
struct ELU : detail::Activation1<ELU, elu> {
  static constexpr double kDefault = 1;
  using Activation1::Activation1;
};
struct CELU : detail::Activation1<CELU, celu> {
  static constexpr double kDefault = 1;
  using Activation1::Activation1;
};
struct Hardshrink : detail::Activation1<Hardshrink, hardshrink> {
  static constexpr double kDefault = 0.5;
  using Activation1::Activation1;
};
struct Softshrink : detail::Activation1<Softshrink, softshrink> {
  static constexpr double kDefault = 0.5;
  using Activation1::Activation1;
};

struct Softmax : detail::DimActivation<Softmax, softmax> {
  using DimActivation::DimActivation;
};
struct LogSoftmax : detail::DimActivation<LogSoftmax, log_softmax> {
  using DimActivation::DimActivation;
};
struct Softmin : detail::DimActivation<Softmin, softmin> {
  using DimActivation::DimActivation;
};
/// Softmax over the channels of [N, C, H, W] or [C, H, W].
struct Softmax2d : Layer<Softmax2d> {
  using Layer::Layer;
  Tensor forward(const Tensor& x) const;
};

/// `GELU{{.approximate = "tanh"}}`.
struct GELU : Layer<GELU> {
  GELU(const GeluOptions& o = {});
  GELU(Module& parent, std::string_view name, const GeluOptions& o = {}) : GELU(o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x) const { return gelu(x, {.approximate = tanh ? "tanh" : "none"}); }
  bool tanh;

 protected:
  std::string extra_repr() const override { return tanh ? "approximate='tanh'" : "approximate='none'"; }
};
struct GLU : Layer<GLU> {
  GLU(int64_t dim = -1) : dim(dim) {}
  GLU(Module& parent, std::string_view name, int64_t dim = -1) : Layer(parent, name), dim(dim) {}
  Tensor forward(const Tensor& x) const { return glu(x, dim); }
  int64_t dim;
};
struct SoftplusOptions {
  double beta = 1, threshold = 20;
};
struct Softplus : Layer<Softplus> {
  Softplus(const SoftplusOptions& o = {}) : options(o) {}
  Softplus(Module& parent, std::string_view name, const SoftplusOptions& o = {}) : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& x) const { return softplus(x, options.beta, options.threshold); }
  SoftplusOptions options;
};
struct HardtanhOptions {
  double min_val = -1, max_val = 1;
};
struct Hardtanh : Layer<Hardtanh> {
  Hardtanh(const HardtanhOptions& o = {}) : options(o) {}
  Hardtanh(Module& parent, std::string_view name, const HardtanhOptions& o = {}) : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& x) const { return hardtanh(x, options.min_val, options.max_val); }
  HardtanhOptions options;
};
/// x where x > threshold, else value.
struct Threshold : Layer<Threshold> {
  Threshold(double threshold, double value) : threshold(threshold), value(value) {}
  Threshold(Module& parent, std::string_view name, double threshold, double value)
      : Layer(parent, name), threshold(threshold), value(value) {}
  Tensor forward(const Tensor& x) const { return weft::threshold(x, threshold, value); }
  double threshold, value;
};
struct RreluOptions {
  double lower = 1.0 / 8, upper = 1.0 / 3;
};
struct RReLU : Layer<RReLU> {
  RReLU(const RreluOptions& o = {}) : options(o) {}
  RReLU(Module& parent, std::string_view name, const RreluOptions& o = {}) : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& x) const { return rrelu(x, options.lower, options.upper, is_training()); }
  RreluOptions options;
};
struct PreluOptions {
  int64_t num_parameters = 1;  ///< or the number of channels
  double init = 0.25;
};
/// Leaky relu with a trained slope: weight [num_parameters].
struct PReLU : Layer<PReLU> {
  PReLU(const PreluOptions& o = {}) : weight(*this, "weight", full({o.num_parameters}, Scalar(o.init))) {}
  PReLU(Module& parent, std::string_view name, const PreluOptions& o = {}) : PReLU(o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x) const { return prelu(x, weight); }
  Parameter weight;
};

}  // namespace weft::nn
