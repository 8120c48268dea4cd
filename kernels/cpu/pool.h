#pragma once
// Pooling on raw memory: maximum with indices, average, adaptive forms; 1 to 3 spatial dimensions.
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace weft::cpu {

/// The inputs that one dimension's outputs see: output o reads begin[o], begin[o] + step, ... below end[o], all inside
/// the input. `padded[o]` counts the window's positions with padding included (what count_include_pad divides by).
struct PoolAxis {
  int64_t size = 1, step = 1;
  std::vector<int64_t> begin, end, padded;
  int64_t kernel = 0, stride = 1, padding = 0;  // kernel 0: adaptive
  int64_t outputs() const { return static_cast<int64_t>(begin.size()); }
};

/// Windows of max_pool and avg_pool: `outputs` of them, `stride` apart.
PoolAxis pool_axis(int64_t size, int64_t outputs, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation);
/// Windows of the adaptive pools: [floor(o * size / outputs), ceil((o + 1) * size / outputs)).
PoolAxis adaptive_axis(int64_t size, int64_t outputs);

/// One pooling of x [batch, channels, D, H, W] to y [batch, channels, outputs of the axes]; strides in elements (batch,
/// channel, D, H, W), any layout. dtype: all but bool for max and avg forward; floating for the backward passes.
/// The same bits for any layout and number of threads.
struct Pool {
  DType dtype = DType::f32;
  int64_t batch = 1, channels = 1;
  PoolAxis axis[3];
  int64_t x_strides[5] = {}, y_strides[5] = {};
  bool count_include_pad = true;
  int64_t divisor_override = 0;  // 0: none
};

/// y = maximum of each window, index (laid out as y) = its place in the flat D x H x W plane of x; the first of equals,
/// the last NaN where there is one.
void max_pool_forward(const Pool& p, const void* x, void* y, int64_t* index);
/// dx[index] += dy per output; dx (laid out as x) is written completely.
void max_pool_backward(const Pool& p, const void* dy, const int64_t* index, void* dx);
/// y = x at index: the derivative of the maximum along a direction.
void max_pool_gather(const Pool& p, const void* x, const int64_t* index, void* y);

/// y = sum of each window / its divisor (integers round towards zero).
void avg_pool_forward(const Pool& p, const void* x, void* y);
/// dx = dy / divisor added over the windows that hold the element.
void avg_pool_backward(const Pool& p, const void* dy, void* dx);

}  // namespace weft::cpu
