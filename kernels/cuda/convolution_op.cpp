// The convolution ops on devices: from tensors to the plain descriptions of dnn.h.
#include "core/ops/conv.h"
#include "kernels/cuda/dnn.h"
#include "kernels/cuda/kernels.h"

namespace weft::gpu {
namespace {

using dnn::ConvolutionCall;

// Batch, channel, depth, height, width: the spatial dimensions of t are the last.
void set_strides(const Tensor& t, int64_t* strides) {
  strides[0] = t.strides()[0], strides[1] = t.strides()[1];
  for (int d = 2; d < t.dim(); ++d) strides[d + 5 - t.dim()] = t.strides()[d];
}
void set_sizes(const Tensor& t, int64_t* sizes) {
  for (int d = 2; d < t.dim(); ++d) sizes[d + 3 - t.dim()] = t.sizes()[d];
}
void* address(const Tensor& t) { return t.defined() ? t.impl()->data : nullptr; }

// The convolution with input x, weight w and output y, whichever of them is computed.
ConvolutionCall describe(ConvolutionCall::Kind kind, const ConvAttrs& a, const Tensor& x, const Tensor& w,
                         const Tensor& y, const Tensor& bias) {
  ConvolutionCall c;
  c.kind = kind, c.dtype = x.dtype(), c.space = x.dim() == 5 ? 3 : 2;
  c.batch = x.sizes()[0], c.groups = a.groups, c.cin = x.sizes()[1], c.cout = y.sizes()[1];
  for (int d = 0; d < 3; ++d) c.stride[d] = a.stride[d], c.padding[d] = a.padding[d], c.dilation[d] = a.dilation[d];
  set_sizes(x, c.x_size), set_sizes(w, c.kernel), set_sizes(y, c.y_size);
  set_strides(x, c.x_strides), set_strides(w, c.w_strides), set_strides(y, c.y_strides);
  c.x = address(x), c.w = address(w), c.y = address(y), c.bias = address(bias);
  return c;
}

void run(const ConvolutionCall& c) {
  if (dnn::supports(c))
    dnn::run(c, current_stream());
  else
    dnn::convolution_kernels(c);
}

}  // namespace

void convolution(const OpCall& call) {
  const auto& a = call.as<ConvAttrs>();
  const Tensor &x = call.in[0], &w = call.in[1], &b = call.in[2], &y = call.out[0];
  if (a.transposed)
    run(describe(ConvolutionCall::Kind::data_gradient, a, y, w, x, b));
  else
    run(describe(ConvolutionCall::Kind::forward, a, x, w, y, b));
}

void convolution_weight(const OpCall& call) {
  run(describe(ConvolutionCall::Kind::weight_gradient, call.as<ConvAttrs>(), call.in[0], call.out[0], call.in[1],
               call.out[1]));
}

}  // namespace weft::gpu
