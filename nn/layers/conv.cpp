#include "nn/layers/conv.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/shape.h"
#include "nn/init.h"
#include "nn/layers/common.h"

namespace weft::nn::detail {

ConvGeometry conv_geometry(int dims, const Extents& kernel, const ConvLayerOptions& o) {
  check_extents(kernel, dims, "Conv", "kernel_size");
  check_extents(o.dilation, dims, "Conv", "dilation");
  for (std::string_view mode : {"zeros", "reflect", "replicate", "circular"})
    if (o.padding_mode == mode) {
      ConvGeometry g{{o.stride, o.padding, o.dilation, o.groups}, std::string(mode), {}};
      // The caller's text may not live as long as the layer.
      if (o.padding.mode == "same")
        g.options.padding = "same";
      else if (o.padding.mode == "valid")
        g.options.padding = "valid";
      else
        WEFT_CHECK(o.padding.mode.empty(), "Conv: padding is \"{}\"; use numbers, \"same\" or \"valid\"",
                   o.padding.mode);
      if (mode == "zeros") return g;
      for (int d = dims - 1; d >= 0; --d) {
        const int64_t total = o.padding.mode == "same"    ? o.dilation[d] * (kernel[d] - 1)
                              : o.padding.mode == "valid" ? 0
                                                          : 2 * o.padding[d];
        g.pad.push_back(total / 2);
        g.pad.push_back(total - total / 2);
      }
      g.options.padding = 0;
      return g;
    }
  WEFT_FAIL("Conv: unknown padding_mode \"{}\"; use zeros, reflect, replicate or circular", o.padding_mode);
}

Tensor conv_weight(int dims, int64_t in, int64_t out, const Extents& kernel, int64_t groups, bool transposed) {
  check_extents(kernel, dims, "Conv", "kernel_size");
  WEFT_CHECK(groups > 0 && in > 0 && out > 0 && in % groups == 0 && out % groups == 0,
             "Conv: {} groups have to divide in_channels {} and out_channels {}", groups, in, out);
  Dims sizes = transposed ? Dims{in, out / groups} : Dims{out, in / groups};
  for (int d = 0; d < dims; ++d) sizes.push_back(kernel[d]);
  return empty(sizes);
}
void reset_conv(Tensor& weight, Tensor& bias) {
  init::kaiming_uniform_(weight, {.a = std::sqrt(5.0)});
  if (bias.defined()) uniform_of_fan(bias, init::fan_in_and_fan_out(weight).first);
}

Tensor conv(int dims, const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvGeometry& g) {
  const auto f = dims == 1 ? conv1d : dims == 2 ? conv2d : conv3d;
  if (g.pad.empty()) return f(x, weight, bias, g.options);
  return f(pad(x, g.pad.vec(), g.padding_mode), weight, bias, g.options);
}

std::string conv_repr(const Tensor& weight, bool transposed, const Extents& stride, const Extents& padding,
                      int64_t groups, bool bias) {
  const int dims = weight.dim() - 2;
  auto tuple = [dims](auto at) {
    std::string text = "(";
    for (int d = 0; d < dims; ++d) text += std::to_string(at(d)) + (dims == 1 ? "," : d + 1 < dims ? ", " : "");
    return text + ")";
  };
  const int64_t a = weight.size(0), b = weight.size(1) * groups;
  std::string text = format("{}, {}, kernel_size={}, stride={}",
                            {transposed ? a : b, transposed ? b : a, tuple([&](int d) { return weight.size(d + 2); }),
                             tuple([&](int d) { return stride[d]; })});
  bool padded = false;
  for (int64_t p : padding.values) padded |= p != 0;
  if (padded) text += ", padding=" + tuple([&](int d) { return padding[d]; });
  if (groups != 1) text += ", groups=" + std::to_string(groups);
  return bias ? text : text + ", bias=False";
}

}  // namespace weft::nn::detail
