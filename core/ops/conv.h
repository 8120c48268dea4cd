#pragma once
#include "core/dispatch.h"
#include "core/ops/extents.h"

// Convolution and transposed convolution (torch.nn.functional.conv1d ... conv_transpose3d).
namespace weft {

/// Zeros on both sides of every spatial dimension, or "valid" (none), or "same" (output as large as the input; needs
/// stride 1; of an odd number of zeros the extra one goes to the right).
struct ConvPadding : Extents {
  std::string_view mode;
  using Extents::Extents;
  ConvPadding(const char* m) : mode(m) {}
  ConvPadding(std::string_view m) : mode(m) {}
};
struct ConvOptions {
  Extents stride = 1;
  ConvPadding padding = 0;
  Extents dilation = 1;
  int64_t groups = 1;
};
struct ConvTransposeOptions {
  Extents stride = 1;
  Extents padding = 0;
  Extents output_padding = 0;
  int64_t groups = 1;
  Extents dilation = 1;
};

/// Cross-correlation of x [N, C, L] (or [C, L]) with weight [O, C / groups, k], plus bias [O] if given: [N, O, L'].
/// L' = (L + 2 padding - dilation (k - 1) - 1) / stride + 1. f32 f64 bf16 f16, and i64 without gradients; all of one
/// dtype. The result is channels-last where x or weight is.
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& o = {});
/// The same over x [N, C, H, W], weight [O, C / groups, kh, kw].
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& o = {});
/// The same over x [N, C, D, H, W], weight [O, C / groups, kd, kh, kw].
Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& o = {});

/// The transpose (gradient) of a convolution: x [N, C, L], weight [C, O / groups, k], bias [O]: [N, O, L'] with
/// L' = (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1.
Tensor conv_transpose1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvTransposeOptions& o = {});
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvTransposeOptions& o = {});
Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvTransposeOptions& o = {});

// ---- records
/// Per-dimension values are (depth, height, width), missing ones 1, 1, 0, 1, 1.
struct ConvAttrs {
  bool transposed = false;
  MemoryFormat format = MemoryFormat::contiguous;  ///< of the result
  int64_t groups = 1;
  int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  int64_t out_size[3] = {1, 1, 1};  ///< spatial; of the weight gradient: the kernel's
};
/// (x, weight, bias or none) -> y.
struct ConvOp {
  static const OpRecord record;
};
/// (x, dy) -> (dw, db or none): of a convolution with input x and output gradient dy. `transposed` is unused.
struct ConvWeightOp {
  static const OpRecord record;
};

namespace cpu {
void convolution(const OpCall& c);
void convolution_weight(const OpCall& c);
}  // namespace cpu
namespace rules {
void convolution(Node& n, const Tensor* g, Tensor* gin);
void convolution_weight(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

namespace detail {
/// The op itself, arguments checked. Channels-last where attrs.format, x or weight is.
Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, ConvAttrs attrs);
/// {dw, db}; db is undefined unless asked for. `like`: the weight whose shape and layout dw gets.
std::pair<Tensor, Tensor> convolution_weight(const Tensor& x, const Tensor& dy, const Tensor& like, bool bias,
                                             ConvAttrs attrs);
}  // namespace detail

}  // namespace weft
