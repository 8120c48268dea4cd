#include "core/ops/conv.h"

#include "core/autocast.h"
#include "core/error.h"

namespace weft {

const OpRecord ConvOp::record{.name = "convolution",
                              .save_inputs = 0b11,
                              .cpu = cpu::convolution,
                              .rule = rules::convolution,
                              .cast = Cast::lower};
const OpRecord ConvWeightOp::record{.name = "convolution_weight",
                                    .save_inputs = 0b11,
                                    .cpu = cpu::convolution_weight,
                                    .rule = rules::convolution_weight};

namespace detail {

Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, ConvAttrs attrs) {
  if (attrs.format == MemoryFormat::contiguous) attrs.format = suggest_memory_format(x);
  if (attrs.format == MemoryFormat::contiguous) attrs.format = suggest_memory_format(weight);
  Dims sizes{x.size(0), attrs.transposed ? weight.size(1) * attrs.groups : weight.size(0)};
  for (int d = 5 - x.dim(); d < 3; ++d) sizes.push_back(attrs.out_size[d]);
  Tensor y = allocate(sizes, strides_of(sizes, attrs.format), x.dtype(), x.device());
  const Tensor in[3] = {x, weight, bias.defined() ? bias.contiguous() : bias};
  dispatch(ConvOp::record, in, y, attrs);
  return y;
}

std::pair<Tensor, Tensor> convolution_weight(const Tensor& x, const Tensor& dy, const Tensor& like, bool bias,
                                             ConvAttrs attrs) {
  attrs.format = suggest_memory_format(like);
  attrs.transposed = false;
  for (int d = 5 - like.dim(); d < 3; ++d) attrs.out_size[d] = like.size(d + like.dim() - 3);
  Tensor out[2] = {allocate(like.sizes(), strides_of(like.sizes(), attrs.format), x.dtype(), x.device()), {}};
  if (bias) out[1] = allocate({dy.size(1)}, x.dtype(), x.device());
  const Tensor in[2] = {x, dy};
  dispatch(ConvWeightOp::record, in, out, attrs);
  return {out[0], out[1]};
}

}  // namespace detail

namespace {

using detail::OpName;

void check_operands(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t out_channels, const char* op) {
  WEFT_CHECK_TYPE(x.dtype() == weight.dtype(), "{}: x {} and weight {} must have one dtype; convert one with .to()", op,
                  x, weight);
  WEFT_CHECK_TYPE(is_floating(x.dtype()) || x.dtype() == DType::i64, "{}: x {} must be f32, f64, bf16, f16 or i64", op,
                  x);
  if (!bias.defined()) return;
  WEFT_CHECK_TYPE(x.dtype() == bias.dtype(), "{}: x {} and bias {} must have one dtype; convert one with .to()", op, x,
                  bias);
  WEFT_CHECK(bias.dim() == 1 && bias.size(0) == out_channels,
             "{}: bias must be [{}], one value per output channel, got {}", op, out_channels, bias);
}

void check_geometry(const Extents& stride, const Extents& dilation, int64_t groups, int dims, const char* op) {
  detail::check_extents(stride, dims, op, "stride");
  detail::check_extents(dilation, dims, op, "dilation");
  for (int d = 0; d < dims; ++d) {
    WEFT_CHECK(stride[d] > 0, "{}: stride must be positive, got {}", op, stride.values);
    WEFT_CHECK(dilation[d] > 0, "{}: dilation must be positive, got {}", op, dilation.values);
  }
  WEFT_CHECK(groups > 0, "{}: groups must be positive, got {}", op, groups);
}

void check_padding(const Extents& padding, int dims, const char* op, const char* what) {
  detail::check_extents(padding, dims, op, what);
  for (int d = 0; d < dims; ++d)
    WEFT_CHECK(padding[d] >= 0, "{}: {} must not be negative, got {}", op, what, padding.values);
}

// x as a batch: [N, C, ...]. True in `single` when x was [C, ...].
Tensor batched(const Tensor& x, const Tensor& weight, int dims, bool& single, const char* op) {
  WEFT_CHECK(x.defined() && weight.defined(), "{}: x or weight is an undefined tensor", op);
  WEFT_CHECK(weight.dim() == dims + 2, "{}: weight must have {} dimensions, got {}", op, dims + 2, weight);
  single = x.dim() == dims + 1;
  WEFT_CHECK(single || x.dim() == dims + 2, "{}: x must have {} dimensions, or {} without a batch, got {}", op,
             dims + 2, dims + 1, x);
  return single ? x.unsqueeze(0) : x;
}

void set_common(ConvAttrs& a, int d, int dims, const Extents& stride, const Extents& dilation) {
  const int i = d + 3 - dims;
  a.stride[i] = stride[d];
  a.dilation[i] = dilation[d];
}

Tensor conv(const Tensor& x_given, const Tensor& weight, const Tensor& bias, const ConvOptions& o, int dims) {
  if (detail::casts(ConvOp::record)) [[unlikely]]
    return detail::cast_call(ConvOp::record, conv, x_given, weight, bias, o, dims);
  const OpName op("conv", dims);
  bool single;
  const Tensor x = batched(x_given, weight, dims, single, op);
  check_operands(x, weight, bias, weight.size(0), op);
  check_geometry(o.stride, o.dilation, o.groups, dims, op);
  const bool same = o.padding.mode == "same", named = !o.padding.mode.empty();
  WEFT_CHECK(!named || same || o.padding.mode == "valid",
             "{}: padding must be numbers, \"same\" or \"valid\", got \"{}\"", op, o.padding.mode);
  if (!named) check_padding(o.padding, dims, op, "padding");
  WEFT_CHECK(weight.size(0) > 0 && weight.size(0) % o.groups == 0,
             "{}: groups {} must divide the {} output channels of weight {}", op, o.groups, weight.size(0), weight);
  WEFT_CHECK(x.size(1) == weight.size(1) * o.groups,
             "{}: weight expects {} input channels, x has {} (x {}, weight {}, groups {}); permute x to NC... or "
             "rebuild the layer",
             op, weight.size(1) * o.groups, x.size(1), x, weight, o.groups);
  ConvAttrs a;
  a.groups = o.groups;
  for (int d = 0; d < dims; ++d) {
    set_common(a, d, dims, o.stride, o.dilation);
    const int i = d + 3 - dims;
    const int64_t size = x.size(2 + d), reach = a.dilation[i] * (weight.size(2 + d) - 1);
    WEFT_CHECK(weight.size(2 + d) > 0, "{}: the kernel of weight {} is empty", op, weight);
    WEFT_CHECK(!same || a.stride[i] == 1, "{}: padding \"same\" needs stride 1, got {}", op, o.stride.values);
    a.padding[i] = same ? reach / 2 : named ? 0 : o.padding[d];
    const int64_t padded = size + (same ? reach : 2 * a.padding[i]);
    WEFT_CHECK(padded > reach, "{}: kernel {} (dilated: {}) is larger than the padded input {} in dimension {} (x {})",
               op, weight.size(2 + d), reach + 1, padded, 2 + d, x);
    a.out_size[i] = (padded - reach - 1) / a.stride[i] + 1;
  }
  Tensor y = detail::convolution(x, weight, bias, a);
  return single ? y.squeeze(0) : y;
}

Tensor conv_transpose(const Tensor& x_given, const Tensor& weight, const Tensor& bias, const ConvTransposeOptions& o,
                      int dims) {
  if (detail::casts(ConvOp::record)) [[unlikely]]
    return detail::cast_call(ConvOp::record, conv_transpose, x_given, weight, bias, o, dims);
  const OpName op("conv_transpose", dims);
  bool single;
  const Tensor x = batched(x_given, weight, dims, single, op);
  check_geometry(o.stride, o.dilation, o.groups, dims, op);
  check_operands(x, weight, bias, weight.size(1) * o.groups, op);
  check_padding(o.padding, dims, op, "padding");
  check_padding(o.output_padding, dims, op, "output_padding");
  WEFT_CHECK(x.size(1) == weight.size(0), "{}: weight expects {} input channels, x has {} (x {}, weight {})", op,
             weight.size(0), x.size(1), x, weight);
  WEFT_CHECK(weight.size(0) > 0 && weight.size(0) % o.groups == 0,
             "{}: groups {} must divide the {} input channels of weight {}", op, o.groups, weight.size(0), weight);
  ConvAttrs a;
  a.transposed = true;
  a.groups = o.groups;
  for (int d = 0; d < dims; ++d) {
    set_common(a, d, dims, o.stride, o.dilation);
    const int i = d + 3 - dims;
    const int64_t extra = o.output_padding[d];
    WEFT_CHECK(weight.size(2 + d) > 0, "{}: the kernel of weight {} is empty", op, weight);
    WEFT_CHECK(extra < a.stride[i] || extra < a.dilation[i],
               "{}: output_padding {} must be smaller than stride or dilation", op, extra);
    a.padding[i] = o.padding[d];
    a.out_size[i] =
        (x.size(2 + d) - 1) * a.stride[i] - 2 * a.padding[i] + a.dilation[i] * (weight.size(2 + d) - 1) + extra + 1;
    WEFT_CHECK(a.out_size[i] > 0, "{}: the output would have size {} in dimension {} (x {}, weight {})", op,
               a.out_size[i], 2 + d, x, weight);
  }
  Tensor y = detail::convolution(x, weight, bias, a);
  return single ? y.squeeze(0) : y;
}

}  // namespace

Tensor conv1d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& o) { return conv(x, w, b, o, 1); }
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& o) { return conv(x, w, b, o, 2); }
Tensor conv3d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& o) { return conv(x, w, b, o, 3); }
Tensor conv_transpose1d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvTransposeOptions& o) {
  return conv_transpose(x, w, b, o, 1);
}
Tensor conv_transpose2d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvTransposeOptions& o) {
  return conv_transpose(x, w, b, o, 2);
}
Tensor conv_transpose3d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvTransposeOptions& o) {
  return conv_transpose(x, w, b, o, 3);
}

}  // namespace weft
