#pragma once
// Per-channel normalisation on raw memory: the passes that batch_norm and instance_norm are made of.
#include <cstdint>

#include "core/dtype.h"

namespace weft::cpu {

/// A tensor [batch, channels, area], contiguous, or [batch, area, channels] where channels_last. dtype: f32 f64 bf16
/// f16; all tensors of a call share it and the layout. Per-channel values travel as doubles, whatever the dtype. Bits
/// do not depend on the number of threads.
struct ChannelArray {
  DType dtype = DType::f32;
  int64_t batch = 1, channels = 1, area = 1;
  bool channels_last = false;
};

/// mean and biased variance of each channel over batch and area (NaN where there are no values).
void channel_statistics(const ChannelArray& a, const void* x, double* mean, double* variance);

/// y = x * scale[c] + shift[c], rounded once per operation of fma. y may be x.
void channel_affine(const ChannelArray& a, const void* x, const double* scale, const double* shift, void* y);

/// sum[c] = sum of dy, dot[c] = sum of dy * (x - mean[c]).
void channel_gradient_sums(const ChannelArray& a, const void* dy, const void* x, const double* mean, double* sum,
                           double* dot);

/// dx = (dy - dy_mean[c]) * scale[c] + (x - mean[c]) * slope[c]. dx may be dy.
void channel_gradient(const ChannelArray& a, const void* dy, const void* x, const double* dy_mean, const double* scale,
                      const double* mean, const double* slope, void* dx);

}  // namespace weft::cpu
