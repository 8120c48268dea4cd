#pragma once
// Convolution (cross-correlation, as in PyTorch) on raw memory: forward and the two gradients, 1 to 3 spatial
// dimensions.
#include <cstdint>

#include "core/dtype.h"

namespace weft::cpu {

/// One convolution y = conv(x, w) + b. Spatial arrays are (depth, height, width); a missing dimension has size and
/// kernel 1, stride and dilation 1, padding 0. Strides are in elements, any layout; channels-last and plain NCHW are
/// both fast.
///   x [batch, cin, ...], w [cout, cin / groups, ...], y [batch, cout, ...], bias [cout].
/// dtype (of all tensors): f32 f64 bf16 f16; forward and data gradient also i64; Error for others. bf16
/// and f16 add up in f32. Results do not depend on the number of threads, nor (each output element) on the layouts.
struct Conv {
  DType dtype = DType::f32;
  int64_t batch = 1, groups = 1, cin = 1, cout = 1;
  int64_t x_size[3] = {1, 1, 1}, y_size[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  int64_t x_strides[5] = {}, w_strides[5] = {}, y_strides[5] = {};  // batch or cout, channel, depth, height, width
};

/// y = conv(x, w) + bias; bias may be null. x_size and y_size must agree with the kernel (checked by the op).
void conv_forward(const Conv& c, const void* x, const void* w, const void* bias, void* y);

/// dx = gradient of x (a transposed convolution of dy); strides of x and y describe dx and dy. `bias` [cin] is added
/// where not null, which makes it conv_transpose. dx may have any size for which every read of dy lies in y_size.
void conv_data_gradient(const Conv& c, const void* dy, const void* w, const void* bias, void* dx);

/// dw = gradient of w, and db [cout] = gradient of the bias unless null.
void conv_weight_gradient(const Conv& c, const void* x, const void* dy, void* dw, void* db);

}  // namespace weft::cpu
