#pragma once
#include <string>

#include "core/ops/conv.h"
#include "nn/module.h"

namespace weft::nn {

struct ConvLayerOptions {
  Extents stride = 1;
  ConvPadding padding = 0;  ///< or "same", "valid"
  Extents dilation = 1;
  int64_t groups = 1;
  bool bias = true;
  std::string_view padding_mode = "zeros";  ///< or "reflect", "replicate", "circular"
};
struct ConvTransposeLayerOptions {
  Extents stride = 1;
  Extents padding = 0;
  Extents output_padding = 0;
  int64_t groups = 1;
  bool bias = true;
  Extents dilation = 1;
};

namespace detail {
struct ConvGeometry {
  ConvOptions options;
  std::string padding_mode;
  Dims pad;  ///< (before, after) of the last dimension, then of the one before; for modes other than zeros
};
ConvGeometry conv_geometry(int dims, const Extents& kernel, const ConvLayerOptions& o);
Tensor conv_weight(int dims, int64_t in, int64_t out, const Extents& kernel, int64_t groups, bool transposed);
void reset_conv(Tensor& weight, Tensor& bias);
Tensor conv(int dims, const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvGeometry& g);
std::string conv_repr(const Tensor& weight, bool transposed, const Extents& stride, const Extents& padding,
                      int64_t groups, bool bias);

template <class Self, int dims>
struct ConvLayer : Layer<Self> {
  ConvLayer(int64_t in_channels, int64_t out_channels, const Extents& kernel_size, const ConvLayerOptions& o = {})
      : geometry(conv_geometry(dims, kernel_size, o)),
        weight(*this, "weight", conv_weight(dims, in_channels, out_channels, kernel_size, o.groups, false)),
        bias(*this, "bias", o.bias ? empty({out_channels}) : Tensor()) {
    reset_parameters();
  }
  ConvLayer(Module& parent, std::string_view name, int64_t in_channels, int64_t out_channels,
            const Extents& kernel_size, const ConvLayerOptions& o = {})
      : ConvLayer(in_channels, out_channels, kernel_size, o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x) const { return conv(dims, x, weight, bias, geometry); }
  void reset_parameters() { reset_conv(weight, bias); }

  ConvGeometry geometry;
  Parameter weight, bias;

 protected:
  std::string extra_repr() const override {
    return conv_repr(weight, false, geometry.options.stride, geometry.options.padding, geometry.options.groups,
                     bias.defined());
  }
};

template <class Self, int dims,
          Tensor (*function)(const Tensor&, const Tensor&, const Tensor&, const ConvTransposeOptions&)>
struct ConvTransposeLayer : Layer<Self> {
  ConvTransposeLayer(int64_t in_channels, int64_t out_channels, const Extents& kernel_size,
                     const ConvTransposeLayerOptions& o = {})
      : options{o.stride, o.padding, o.output_padding, o.groups, o.dilation},
        weight(*this, "weight", conv_weight(dims, in_channels, out_channels, kernel_size, o.groups, true)),
        bias(*this, "bias", o.bias ? empty({out_channels}) : Tensor()) {
    reset_parameters();
  }
  ConvTransposeLayer(Module& parent, std::string_view name, int64_t in_channels, int64_t out_channels,
                     const Extents& kernel_size, const ConvTransposeLayerOptions& o = {})
      : ConvTransposeLayer(in_channels, out_channels, kernel_size, o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x) const { return function(x, weight, bias, options); }
  void reset_parameters() { reset_conv(weight, bias); }

  ConvTransposeOptions options;
  Parameter weight, bias;

 protected:
  std::string extra_repr() const override {
    return conv_repr(weight, true, options.stride, options.padding, options.groups, bias.defined());
  }
};
}  // namespace detail

/// Cross-correlation over the spatial dimensions of [N, C, L], [N, C, H, W], [N, C, D, H, W] (torch.nn.Conv1d, ...):
/// `Conv2d{3, 64, 3, {.stride = 2, .padding = 1}}`. weight [out, in / groups, kernel...], bias [out], both uniform in
/// +- 1 / sqrt(in / groups * kernel elements). Errors: channels that the groups do not divide, an unknown padding mode.
struct Conv1d : detail::ConvLayer<Conv1d, 1> {
  using ConvLayer::ConvLayer;
};
struct Conv2d : detail::ConvLayer<Conv2d, 2> {
  using ConvLayer::ConvLayer;
};
struct Conv3d : detail::ConvLayer<Conv3d, 3> {
  using ConvLayer::ConvLayer;
};
/// The transpose of a convolution (torch.nn.ConvTranspose1d, ...): weight [in, out / groups, kernel...].
struct ConvTranspose1d : detail::ConvTransposeLayer<ConvTranspose1d, 1, conv_transpose1d> {
  using ConvTransposeLayer::ConvTransposeLayer;
};
struct ConvTranspose2d : detail::ConvTransposeLayer<ConvTranspose2d, 2, conv_transpose2d> {
  using ConvTransposeLayer::ConvTransposeLayer;
};
struct ConvTranspose3d : detail::ConvTransposeLayer<ConvTranspose3d, 3, conv_transpose3d> {
  using ConvTransposeLayer::ConvTransposeLayer;
};

}  // namespace weft::nn
