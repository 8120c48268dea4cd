// The convolution ops on devices: from tensors to the plain descriptions of dnn.h.
#include "core/ops/conv.h"

#include "core/cuda.h"
#include "core/ops/copy.h"
#include "core/ops/extents.h"
#include "kernels/cuda/dnn.h"
#include "kernels/cuda/kernels.h"

namespace weft::gpu {
namespace {

using dnn::ConvolutionCall;

// Batch, channel, depth, height, width: the spatial dimensions of t are the last.
void set_strides(int dims, const Dims& from, int64_t* strides) {
  strides[0] = from[0];
  for (int d = 1; d < 4; ++d) strides[d] = from[1];
  for (int d = 2; d < dims; ++d) strides[d + 5 - dims] = from[d];
}
void set_strides(const Tensor& t, int64_t* strides) { set_strides(t.dim(), t.strides(), strides); }
void set_sizes(const Tensor& t, int64_t* sizes) {
  for (int d = 2; d < t.dim(); ++d) sizes[d + 3 - t.dim()] = t.sizes()[d];
}
void* address(const Tensor& t) { return t.defined() ? t.impl()->data : nullptr; }

// The convolution with input x, weight w and output y, whichever of them is computed.
ConvolutionCall describe(ConvolutionCall::Kind kind, const ConvAttrs& a, const Tensor& x, const Tensor& w,
                         const Tensor& y, const Tensor& bias) {
  ConvolutionCall c;
  c.kind = kind, c.dtype = x.dtype(), c.deterministic = true, c.tf32 = cuda::allow_tf32(),
  c.space = x.dim() == 5 ? 3 : 2;
  c.batch = x.sizes()[0], c.groups = a.groups, c.cin = x.sizes()[1], c.cout = y.sizes()[1];
  for (int d = 0; d < 3; ++d) c.stride[d] = a.stride[d], c.padding[d] = a.padding[d], c.dilation[d] = a.dilation[d];
  set_sizes(x, c.x_size), set_sizes(w, c.kernel), set_sizes(y, c.y_size);
  set_strides(x, c.x_strides), set_strides(w, c.w_strides), set_strides(y, c.y_strides);
  c.x = address(x), c.w = address(w), c.y = address(y), c.bias = address(bias);
  return c;
}

// The layout that the library computes in. Tensor cores want channels next to each other.
MemoryFormat inside(const Tensor& x, const Tensor& y) {
  if (x.dim() == 3) return MemoryFormat::contiguous;
  const MemoryFormat last = x.dim() == 4 ? MemoryFormat::channels_last : MemoryFormat::channels_last_3d;
  const bool given = x.is_contiguous(last) && !x.is_contiguous();
  return given || (y.is_contiguous(last) && !y.is_contiguous()) || itemsize(x.dtype()) == 2 ? last
                                                                                            : MemoryFormat::contiguous;
}

void copy_to(const Tensor& to, const Tensor& from) {
  const Tensor in[1] = {from};
  Tensor out = to;
  copy({CopyOp::record, in, 1, &out, 1, nullptr});
}

// With the library, in its layout: what lies otherwise is copied before, and the result after. False: it declines.
bool run_by_library(const ConvolutionCall& given, const Tensor (&tensors)[3]) {
  if (!dnn::library_takes(given)) return false;
  const MemoryFormat format = inside(tensors[0], tensors[2]);
  ConvolutionCall c = given;
  int64_t* strides[3] = {c.x_strides, c.w_strides, c.y_strides};
  void** data[3] = {&c.x, &c.w, &c.y};
  bool copies[3];
  for (int i = 0; i < 3; ++i) {
    set_strides(tensors[i].dim(), detail::strides_of(tensors[i].sizes(), format), strides[i]);
    copies[i] = !tensors[i].is_contiguous(format);
    if (copies[i]) *data[i] = nullptr;
  }
  if (!dnn::supports(c)) return false;
  const int result = c.kind == ConvolutionCall::Kind::forward         ? 2
                     : c.kind == ConvolutionCall::Kind::data_gradient ? 0
                                                                      : 1;
  Tensor copied[3];
  for (int i = 0; i < 3; ++i) {
    if (!copies[i]) continue;
    const Tensor& t = tensors[i];
    copied[i] = detail::allocate(t.sizes(), detail::strides_of(t.sizes(), format), t.dtype(), t.device());
    *data[i] = copied[i].impl()->data;
    if (i != result) copy_to(copied[i], t);
  }
  dnn::run(c, current_stream());
  dnn::add_bias(c);
  if (copies[result]) copy_to(tensors[result], copied[result]);
  return true;
}

void run(ConvolutionCall::Kind kind, const ConvAttrs& a, const Tensor& x, const Tensor& w, const Tensor& y,
         const Tensor& bias) {
  const ConvolutionCall c = describe(kind, a, x, w, y, bias);
  if (!run_by_library(c, {x, w, y})) dnn::convolution_kernels(c);
}

}  // namespace

void convolution(const OpCall& call) {
  const auto& a = call.as<ConvAttrs>();
  const Tensor &x = call.in[0], &w = call.in[1], &b = call.in[2], &y = call.out[0];
  if (a.transposed)
    run(ConvolutionCall::Kind::data_gradient, a, y, w, x, b);
  else
    run(ConvolutionCall::Kind::forward, a, x, w, y, b);
}

void convolution_weight(const OpCall& call) {
  run(ConvolutionCall::Kind::weight_gradient, call.as<ConvAttrs>(), call.in[0], call.out[0], call.in[1], call.out[1]);
}

}  // namespace weft::gpu
