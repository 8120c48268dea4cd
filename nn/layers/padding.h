#pragma once
#include "core/ops/extents.h"
#include "core/ops/shape.h"
#include "nn/module.h"

namespace weft::nn {

namespace detail {
/// One number for both sides of every dimension, or (before, after) of the last, then of the one before.
std::vector<int64_t> pad_amounts(const char* name, const Extents& padding, int dims);

enum class PadKind { constant, reflect, replicate, circular };
constexpr const char* pad_name(PadKind k) {
  return k == PadKind::constant    ? "constant"
         : k == PadKind::reflect   ? "reflect"
         : k == PadKind::replicate ? "replicate"
                                   : "circular";
}
template <class Self, int dims, PadKind kind>
struct PadLayer : Layer<Self> {
  PadLayer(const Extents& padding) : padding(pad_amounts(pad_name(kind), padding, dims)) {}
  PadLayer(Module& parent, std::string_view name, const Extents& padding)
      : Layer<Self>(parent, name), padding(pad_amounts(pad_name(kind), padding, dims)) {}
  Tensor forward(const Tensor& x) const { return pad(x, padding, pad_name(kind)); }
  std::vector<int64_t> padding;
};
template <class Self, int dims>
struct ConstantPadLayer : Layer<Self> {
  ConstantPadLayer(const Extents& padding, Scalar value)
      : padding(pad_amounts("constant", padding, dims)), value(value) {}
  ConstantPadLayer(Module& parent, std::string_view name, const Extents& padding, Scalar value)
      : Layer<Self>(parent, name), padding(pad_amounts("constant", padding, dims)), value(value) {}
  Tensor forward(const Tensor& x) const { return pad(x, padding, "constant", value); }
  std::vector<int64_t> padding;
  Scalar value;
};
}  // namespace detail

/// More elements around the last 1, 2 or 3 dimensions (torch.nn.ZeroPad2d, ...): `ZeroPad2d{1}`, `ZeroPad2d{{1, 2, 0,
/// 0}}` (left, right, top, bottom). Negative amounts crop.
struct ZeroPad1d : detail::PadLayer<ZeroPad1d, 1, detail::PadKind::constant> {
  using PadLayer::PadLayer;
};
struct ZeroPad2d : detail::PadLayer<ZeroPad2d, 2, detail::PadKind::constant> {
  using PadLayer::PadLayer;
};
struct ZeroPad3d : detail::PadLayer<ZeroPad3d, 3, detail::PadKind::constant> {
  using PadLayer::PadLayer;
};
struct ReflectionPad1d : detail::PadLayer<ReflectionPad1d, 1, detail::PadKind::reflect> {
  using PadLayer::PadLayer;
};
struct ReflectionPad2d : detail::PadLayer<ReflectionPad2d, 2, detail::PadKind::reflect> {
  using PadLayer::PadLayer;
};
struct ReflectionPad3d : detail::PadLayer<ReflectionPad3d, 3, detail::PadKind::reflect> {
  using PadLayer::PadLayer;
};
struct ReplicationPad1d : detail::PadLayer<ReplicationPad1d, 1, detail::PadKind::replicate> {
  using PadLayer::PadLayer;
};
struct ReplicationPad2d : detail::PadLayer<ReplicationPad2d, 2, detail::PadKind::replicate> {
  using PadLayer::PadLayer;
};
struct ReplicationPad3d : detail::PadLayer<ReplicationPad3d, 3, detail::PadKind::replicate> {
  using PadLayer::PadLayer;
};
struct CircularPad1d : detail::PadLayer<CircularPad1d, 1, detail::PadKind::circular> {
  using PadLayer::PadLayer;
};
struct CircularPad2d : detail::PadLayer<CircularPad2d, 2, detail::PadKind::circular> {
  using PadLayer::PadLayer;
};
struct CircularPad3d : detail::PadLayer<CircularPad3d, 3, detail::PadKind::circular> {
  using PadLayer::PadLayer;
};
struct ConstantPad1d : detail::ConstantPadLayer<ConstantPad1d, 1> {
  using ConstantPadLayer::ConstantPadLayer;
};
struct ConstantPad2d : detail::ConstantPadLayer<ConstantPad2d, 2> {
  using ConstantPadLayer::ConstantPadLayer;
};
struct ConstantPad3d : detail::ConstantPadLayer<ConstantPad3d, 3> {
  using ConstantPadLayer::ConstantPadLayer;
};

}  // namespace weft::nn
