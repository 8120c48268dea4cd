#pragma once
#include "nn/module.h"

namespace weft::nn {

struct LinearOptions {
  bool bias = true;
};
/// y = x W^T + b of x [..., in] (torch.nn.Linear): weight [out, in], bias [out], both uniform in +- 1 / sqrt(in).
struct Linear : Layer<Linear> {
  Linear(int64_t in_features, int64_t out_features, const LinearOptions& o = {});
  Linear(Module& parent, std::string_view name, int64_t in_features, int64_t out_features, const LinearOptions& o = {})
      : Linear(in_features, out_features, o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x) const;
  void reset_parameters();

  Parameter weight, bias;

 protected:
  std::string extra_repr() const override;
};

/// y_k = x1^T W_k x2 + b_k of x1 [..., in1], x2 [..., in2] (torch.nn.Bilinear): weight [out, in1, in2], uniform in +- 1
/// / sqrt(in1).
struct Bilinear : Layer<Bilinear> {
  Bilinear(int64_t in1_features, int64_t in2_features, int64_t out_features, const LinearOptions& o = {});
  Bilinear(Module& parent, std::string_view name, int64_t in1_features, int64_t in2_features, int64_t out_features,
           const LinearOptions& o = {})
      : Bilinear(in1_features, in2_features, out_features, o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x1, const Tensor& x2) const;
  void reset_parameters();

  Parameter weight, bias;
};

/// Its input (torch.nn.Identity).
struct Identity : Layer<Identity> {
  using Layer::Layer;
  Tensor forward(const Tensor& x) const { return x; }
};

struct FlattenOptions {
  int64_t start_dim = 1, end_dim = -1;
};
/// Dimensions start_dim to end_dim as one (torch.nn.Flatten).
struct Flatten : Layer<Flatten> {
  Flatten(const FlattenOptions& o = {}) : options(o) {}
  Flatten(Module& parent, std::string_view name, const FlattenOptions& o = {}) : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& x) const { return x.flatten(options.start_dim, options.end_dim); }
  FlattenOptions options;
};
/// One dimension as several (torch.nn.Unflatten).
struct Unflatten : Layer<Unflatten> {
  Unflatten(int64_t dim, const Dims& sizes) : dim(dim), sizes(sizes) {}
  Unflatten(Module& parent, std::string_view name, int64_t dim, const Dims& sizes)
      : Layer(parent, name), dim(dim), sizes(sizes) {}
  Tensor forward(const Tensor& x) const { return x.unflatten(dim, sizes); }
  int64_t dim;
  Dims sizes;
};

}  // namespace weft::nn
