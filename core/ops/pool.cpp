#include "core/ops/pool.h"

#include "core/autocast.h"
#include "core/error.h"

namespace weft {

const OpRecord MaxPoolOp::record{.name = "max_pool",
                                 .save_outputs = 0b10,
                                 .cpu = cpu::max_pool,
                                 .rule = rules::max_pool,
                                 .non_differentiable = 0b10};
const OpRecord MaxPoolBackwardOp::record{
    .name = "max_pool_backward", .save_inputs = 0b10, .cpu = cpu::max_pool_backward, .rule = rules::max_pool_backward};
const OpRecord MaxPoolGatherOp::record{
    .name = "max_pool_gather", .save_inputs = 0b10, .cpu = cpu::max_pool_gather, .rule = rules::max_pool_gather};
const OpRecord AvgPoolOp::record{.name = "avg_pool", .cpu = cpu::avg_pool, .rule = rules::avg_pool};
const OpRecord AvgPoolBackwardOp::record{
    .name = "avg_pool_backward", .cpu = cpu::avg_pool_backward, .rule = rules::avg_pool_backward};

namespace detail {

Tensor pool_like(const OpRecord& op, const Tensor& x, const Tensor& index, const PoolAttrs& attrs, bool to_input) {
  Dims sizes{x.size(0), x.size(1)};
  for (int d = 5 - x.dim(); d < 3; ++d) sizes.push_back(to_input ? attrs.in_size[d] : attrs.out_size[d]);
  Tensor out = allocate(sizes, strides_of(sizes, attrs.format), x.dtype(), x.device());
  const Tensor in[2] = {x, index};
  weft::dispatch(op, {in, index.defined() ? size_t{2} : 1}, {&out, 1}, attrs);
  return out;
}

}  // namespace detail

namespace {

using detail::OpName;

Tensor batched(const Tensor& x, int dims, bool& single, const char* op) {
  WEFT_CHECK(x.defined(), "{}: x is an undefined tensor", op);
  single = x.dim() == dims + 1;
  WEFT_CHECK(single || x.dim() == dims + 2, "{}: x must have {} dimensions, or {} without a batch, got {}", op,
             dims + 2, dims + 1, x);
  for (int d = single ? 0 : 1; d < x.dim(); ++d)
    WEFT_CHECK(x.size(d) > 0, "{}: only the batch may be empty, got {}", op, x);
  return single ? x.unsqueeze(0) : x;
}

// Number of windows; PyTorch drops a last one that would start in the right padding.
int64_t outputs(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode) {
  const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
  if (room < 0 && !(ceil_mode && room + stride > 0)) return 0;
  int64_t n = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (n - 1) * stride >= size + padding) --n;
  return n;
}

PoolAttrs regular(const Tensor& x, const Extents& kernel, const Extents& stride_given, const Extents& padding,
                  const Extents& dilation, bool ceil_mode, int dims, const char* op) {
  const Extents& stride = stride_given.given() ? stride_given : kernel;
  detail::check_extents(kernel, dims, op, "kernel_size");
  detail::check_extents(stride, dims, op, "stride");
  detail::check_extents(padding, dims, op, "padding");
  detail::check_extents(dilation, dims, op, "dilation");
  PoolAttrs a;
  a.format = detail::suggest_memory_format(x);
  for (int d = 0; d < dims; ++d) {
    const int i = d + 3 - dims;
    WEFT_CHECK(kernel[d] > 0, "{}: kernel_size must be positive, got {}", op, kernel.values);
    WEFT_CHECK(stride[d] > 0, "{}: stride must be positive, got {}", op, stride.values);
    WEFT_CHECK(dilation[d] > 0, "{}: dilation must be positive, got {}", op, dilation.values);
    WEFT_CHECK(padding[d] >= 0, "{}: padding must not be negative, got {}", op, padding.values);
    WEFT_CHECK(
        padding[d] <= (dilation[d] * (kernel[d] - 1) + 1) / 2,
        "{}: padding must be at most half of the effective kernel size; got padding {}, kernel_size {}, dilation {}",
        op, padding.values, kernel.values, dilation.values);
    a.kernel[i] = kernel[d], a.stride[i] = stride[d], a.padding[i] = padding[d], a.dilation[i] = dilation[d];
    a.in_size[i] = x.size(2 + d);
    a.out_size[i] = outputs(a.in_size[i], kernel[d], stride[d], padding[d], dilation[d], ceil_mode);
    WEFT_CHECK(a.out_size[i] > 0, "{}: the output would be empty: x {}, kernel_size {}, padding {}", op, x,
               kernel.values, padding.values);
  }
  return a;
}

PoolAttrs adaptive(const Tensor& x, const Extents& size, int dims, const char* op) {
  detail::check_extents(size, dims, op, "output_size");
  PoolAttrs a;
  a.adaptive = true;
  a.format = detail::suggest_memory_format(x);
  for (int d = 0; d < dims; ++d) {
    const int i = d + 3 - dims;
    a.in_size[i] = x.size(2 + d);
    a.out_size[i] = size[d] == kInputSize ? a.in_size[i] : size[d];
    WEFT_CHECK(a.out_size[i] >= 0, "{}: output_size must not be negative, got {}", op, size.values);
  }
  return a;
}

std::tuple<Tensor, Tensor> max_with(const Tensor& x, const PoolAttrs& a, bool single, const char* op) {
  WEFT_CHECK_TYPE(x.dtype() != DType::bool_, "{}: x {} must not be bool; convert it with .to()", op, x);
  Dims sizes{x.size(0), x.size(1)};
  for (int d = 5 - x.dim(); d < 3; ++d) sizes.push_back(a.out_size[d]);
  const Dims strides = detail::strides_of(sizes, a.format);
  Tensor out[2] = {detail::allocate(sizes, strides, x.dtype(), x.device()),
                   detail::allocate(sizes, strides, DType::i64, x.device())};
  const Tensor in[1] = {x};
  dispatch(MaxPoolOp::record, in, out, a);
  if (single) return {out[0].squeeze(0), out[1].squeeze(0)};
  return {out[0], out[1]};
}

std::tuple<Tensor, Tensor> max_pool(const Tensor& x_given, const Extents& kernel, const MaxPoolOptions& o, int dims) {
  const OpName op("max_pool", dims);
  bool single;
  const Tensor x = batched(x_given, dims, single, op);
  return max_with(x, regular(x, kernel, o.stride, o.padding, o.dilation, o.ceil_mode, dims, op), single, op);
}

std::tuple<Tensor, Tensor> adaptive_max_pool(const Tensor& x_given, const Extents& size, int dims) {
  const OpName op("adaptive_max_pool", dims);
  bool single;
  const Tensor x = batched(x_given, dims, single, op);
  return max_with(x, adaptive(x, size, dims, op), single, op);
}

Tensor average(const Tensor& x, const PoolAttrs& a, bool single, const char* op) {
  WEFT_CHECK_TYPE(is_floating(x.dtype()) || x.dtype() == DType::i64, "{}: x {} must be f32, f64, bf16, f16 or i64", op,
                  x);
  Tensor y = detail::pool_like(AvgPoolOp::record, x, {}, a, false);
  return single ? y.squeeze(0) : y;
}

// PyTorch computes means of volumes in f32 under Autocast, those of images as they come.
const OpRecord kAvgPool3d{.name = "avg_pool3d", .cast = Cast::f32};

Tensor avg_pool(const Tensor& x_given, const Extents& kernel, const AvgPoolOptions& o, int dims) {
  if (dims == 3 && detail::casts(kAvgPool3d)) [[unlikely]]
    return detail::cast_call(kAvgPool3d, avg_pool, x_given, kernel, o, dims);
  const OpName op("avg_pool", dims);
  bool single;
  const Tensor x = batched(x_given, dims, single, op);
  WEFT_CHECK(!o.divisor_override || *o.divisor_override != 0, "{}: divisor_override must not be 0", op);
  PoolAttrs a = regular(x, kernel, o.stride, o.padding, 1, o.ceil_mode, dims, op);
  a.count_include_pad = o.count_include_pad;
  a.divisor_override = o.divisor_override.value_or(0);
  return average(x, a, single, op);
}

Tensor adaptive_avg_pool(const Tensor& x_given, const Extents& size, int dims) {
  if (dims == 3 && detail::casts(kAvgPool3d)) [[unlikely]]
    return detail::cast_call(kAvgPool3d, adaptive_avg_pool, x_given, size, dims);
  const OpName op("adaptive_avg_pool", dims);
  bool single;
  const Tensor x = batched(x_given, dims, single, op);
  return average(x, adaptive(x, size, dims, op), single, op);
}

}  // namespace

#define WEFT_POOLS(n)                                                                                                  \
  Tensor max_pool##n##d(const Tensor& x, const Extents& k, const MaxPoolOptions& o) {                                  \
    return std::get<0>(max_pool(x, k, o, n));                                                                          \
  }                                                                                                                    \
  std::tuple<Tensor, Tensor> max_pool##n##d_with_indices(const Tensor& x, const Extents& k, const MaxPoolOptions& o) { \
    return max_pool(x, k, o, n);                                                                                       \
  }                                                                                                                    \
  Tensor avg_pool##n##d(const Tensor& x, const Extents& k, const AvgPoolOptions& o) { return avg_pool(x, k, o, n); }   \
  Tensor adaptive_avg_pool##n##d(const Tensor& x, const Extents& s) { return adaptive_avg_pool(x, s, n); }             \
  Tensor adaptive_max_pool##n##d(const Tensor& x, const Extents& s) {                                                  \
    return std::get<0>(adaptive_max_pool(x, s, n));                                                                    \
  }                                                                                                                    \
  std::tuple<Tensor, Tensor> adaptive_max_pool##n##d_with_indices(const Tensor& x, const Extents& s) {                 \
    return adaptive_max_pool(x, s, n);                                                                                 \
  }
WEFT_POOLS(1)
WEFT_POOLS(2)
WEFT_POOLS(3)
#undef WEFT_POOLS

}  // namespace weft
