// The convolution ops: from tensors to the plain descriptions of conv.h.
#include "core/ops/conv.h"

#include "kernels/cpu/conv.h"

namespace weft::cpu {
namespace {

// Batch, channel, depth, height, width: the spatial dimensions of t are the last.
void set_strides(const Tensor& t, int64_t* strides) {
  strides[0] = t.strides()[0], strides[1] = t.strides()[1];
  for (int d = 2; d < t.dim(); ++d) strides[d + 5 - t.dim()] = t.strides()[d];
}
void set_sizes(const Tensor& t, int64_t* sizes) {
  for (int d = 2; d < t.dim(); ++d) sizes[d + 3 - t.dim()] = t.sizes()[d];
}

// The convolution with input x, weight w and output y, whichever of them is computed.
Conv describe(const ConvAttrs& a, const Tensor& x, const Tensor& w, const Tensor& y) {
  Conv c;
  c.dtype = x.dtype();
  c.batch = x.sizes()[0], c.groups = a.groups, c.cin = x.sizes()[1], c.cout = y.sizes()[1];
  for (int d = 0; d < 3; ++d) c.stride[d] = a.stride[d], c.padding[d] = a.padding[d], c.dilation[d] = a.dilation[d];
  set_sizes(x, c.x_size), set_sizes(w, c.kernel), set_sizes(y, c.y_size);
  set_strides(x, c.x_strides), set_strides(w, c.w_strides), set_strides(y, c.y_strides);
  return c;
}

void* address(const Tensor& t) { return t.defined() ? t.data_ptr() : nullptr; }

}  // namespace

void convolution(const OpCall& call) {
  const auto& a = call.as<ConvAttrs>();
  const Tensor &x = call.in[0], &w = call.in[1], &b = call.in[2], &y = call.out[0];
  if (a.transposed) {
    conv_data_gradient(describe(a, y, w, x), x.data_ptr(), w.data_ptr(), address(b), y.data_ptr());
  } else {
    conv_forward(describe(a, x, w, y), x.data_ptr(), w.data_ptr(), address(b), y.data_ptr());
  }
}

void convolution_weight(const OpCall& call) {
  const Tensor &x = call.in[0], &dy = call.in[1], &dw = call.out[0];
  conv_weight_gradient(describe(call.as<ConvAttrs>(), x, dw, dy), x.data_ptr(), dy.data_ptr(), dw.data_ptr(),
                       address(call.out[1]));
}

}  // namespace weft::cpu
