#include "tools/weft/modules.h"

// Modules without parameters: activations, pooling, padding.
namespace weft::tools {
namespace {

template <class M>
Built plain(const Args&) {
  return unary(M());
}
template <class M>
Built number(const Args& a) {
  return unary(M(a.real(0)));
}
template <class M>
Built dim(const Args& a) {
  return unary(M(a.integer(0)));
}

Extents extents(const Args& a, size_t i) { return a.none(i) ? Extents() : Extents(a.dims(i)); }
template <class M>
Built with_indices(M m, bool indices) {
  return built<M>(std::move(m), "input", indices ? [](M& f, const Args& a) -> Value {
           auto [values, places] = f.forward_with_indices(a.tensor(0));
           return Value::tuple({values, places});
         } : +[](M& f, const Args& a) -> Value { return f(a.tensor(0)); });
}
constexpr std::string_view kMaxPool =
    "kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False";
template <class M>
Built max_pool(const Args& a) {
  return with_indices(
      M(extents(a, 0),
        {.stride = extents(a, 1), .padding = extents(a, 2), .dilation = extents(a, 3), .ceil_mode = a.flag(5)}),
      a.flag(4));
}
constexpr std::string_view kAvgPool1d = "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True";
constexpr std::string_view kAvgPool =
    "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None";
template <class M, bool divisor>
Built avg_pool(const Args& a) {
  AvgPoolOptions o{
      .stride = extents(a, 1), .padding = extents(a, 2), .ceil_mode = a.flag(3), .count_include_pad = a.flag(4)};
  if (divisor) o.divisor_override = a.optional_integer(5);
  return unary(M(extents(a, 0), o));
}
Extents output_size(const Args& a) {
  if (!a[0].is_list()) return Extents(a.dims(0));
  Dims sizes;
  for (const Value& v : a[0].as_list()) sizes.push_back(v.is_none() ? kInputSize : v.as_int());
  return Extents(sizes);
}
template <class M>
Built adaptive(const Args& a) {
  return unary(M(output_size(a)));
}
template <class M>
Built adaptive_max(const Args& a) {
  return with_indices(M(output_size(a)), a.flag(1));
}
template <class M>
Built pad(const Args& a) {
  return unary(M(extents(a, 0)));
}
template <class M>
Built constant_pad(const Args& a) {
  return unary(M(extents(a, 0), a.scalar(1)));
}

const ModuleRow kRows[] = {
    {"ReLU", "inplace=False", plain<nn::ReLU>},
    {"ReLU6", "inplace=False", plain<nn::ReLU6>},
    {"Sigmoid", "", plain<nn::Sigmoid>},
    {"Tanh", "", plain<nn::Tanh>},
    {"SiLU", "inplace=False", plain<nn::SiLU>},
    {"Mish", "inplace=False", plain<nn::Mish>},
    {"SELU", "inplace=False", plain<nn::SELU>},
    {"Hardswish", "inplace=False", plain<nn::Hardswish>},
    {"Hardsigmoid", "inplace=False", plain<nn::Hardsigmoid>},
    {"LogSigmoid", "", plain<nn::LogSigmoid>},
    {"Softsign", "", plain<nn::Softsign>},
    {"Tanhshrink", "", plain<nn::Tanhshrink>},
    {"Softmax2d", "", plain<nn::Softmax2d>},
    {"LeakyReLU", "negative_slope=0.01, inplace=False", number<nn::LeakyReLU>},
    {"ELU", "alpha=1.0, inplace=False", number<nn::ELU>},
    {"CELU", "alpha=1.0, inplace=False", number<nn::CELU>},
    {"Hardshrink", "lambd=0.5", number<nn::Hardshrink>},
    {"Softshrink", "lambd=0.5", number<nn::Softshrink>},
    {"Softmax", "dim", dim<nn::Softmax>},
    {"LogSoftmax", "dim", dim<nn::LogSoftmax>},
    {"Softmin", "dim", dim<nn::Softmin>},
    {"GLU", "dim=-1", dim<nn::GLU>},
    {"GELU", "approximate='none'", [](const Args& a) { return unary(nn::GELU({.approximate = a.text(0)})); }},
    {"Softplus", "beta=1.0, threshold=20.0",
     [](const Args& a) {
       return unary(nn::Softplus({a.real(0), a.real(1)}));
     }},
    {"Hardtanh", "min_val=-1.0, max_val=1.0, inplace=False",
     [](const Args& a) {
       return unary(nn::Hardtanh({a.real(0), a.real(1)}));
     }},
    {"Threshold", "threshold, value, inplace=False",
     [](const Args& a) { return unary(nn::Threshold(a.real(0), a.real(1))); }},
    {"RReLU", "lower=0.125, upper=0.3333333333333333, inplace=False",
     [](const Args& a) {
       return unary(nn::RReLU({a.real(0), a.real(1)}));
     }},
    {"PReLU", "num_parameters=1, init=0.25, device=None, dtype=None",
     [](const Args& a) {
       return unary(nn::PReLU({a.integer(0), a.real(1)}));
     }},
    {"MaxPool1d", kMaxPool, max_pool<nn::MaxPool1d>},
    {"MaxPool2d", kMaxPool, max_pool<nn::MaxPool2d>},
    {"MaxPool3d", kMaxPool, max_pool<nn::MaxPool3d>},
    {"AvgPool1d", kAvgPool1d, avg_pool<nn::AvgPool1d, false>},
    {"AvgPool2d", kAvgPool, avg_pool<nn::AvgPool2d, true>},
    {"AvgPool3d", kAvgPool, avg_pool<nn::AvgPool3d, true>},
    {"AdaptiveAvgPool1d", "output_size", adaptive<nn::AdaptiveAvgPool1d>},
    {"AdaptiveAvgPool2d", "output_size", adaptive<nn::AdaptiveAvgPool2d>},
    {"AdaptiveAvgPool3d", "output_size", adaptive<nn::AdaptiveAvgPool3d>},
    {"AdaptiveMaxPool1d", "output_size, return_indices=False", adaptive_max<nn::AdaptiveMaxPool1d>},
    {"AdaptiveMaxPool2d", "output_size, return_indices=False", adaptive_max<nn::AdaptiveMaxPool2d>},
    {"AdaptiveMaxPool3d", "output_size, return_indices=False", adaptive_max<nn::AdaptiveMaxPool3d>},
    {"ZeroPad1d", "padding", pad<nn::ZeroPad1d>},
    {"ZeroPad2d", "padding", pad<nn::ZeroPad2d>},
    {"ZeroPad3d", "padding", pad<nn::ZeroPad3d>},
    {"ReflectionPad1d", "padding", pad<nn::ReflectionPad1d>},
    {"ReflectionPad2d", "padding", pad<nn::ReflectionPad2d>},
    {"ReflectionPad3d", "padding", pad<nn::ReflectionPad3d>},
    {"ReplicationPad1d", "padding", pad<nn::ReplicationPad1d>},
    {"ReplicationPad2d", "padding", pad<nn::ReplicationPad2d>},
    {"ReplicationPad3d", "padding", pad<nn::ReplicationPad3d>},
    {"CircularPad1d", "padding", pad<nn::CircularPad1d>},
    {"CircularPad2d", "padding", pad<nn::CircularPad2d>},
    {"CircularPad3d", "padding", pad<nn::CircularPad3d>},
    {"ConstantPad1d", "padding, value", constant_pad<nn::ConstantPad1d>},
    {"ConstantPad2d", "padding, value", constant_pad<nn::ConstantPad2d>},
    {"ConstantPad3d", "padding, value", constant_pad<nn::ConstantPad3d>},
};

}  // namespace

std::span<const ModuleRow> simple_rows() { return kRows; }

}  // namespace weft::tools
