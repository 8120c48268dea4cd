#pragma once
#include <cstdint>

#include "core/dims.h"
#include "core/dtype.h"

namespace weft::cpu {

/// dst[i] = src[i * stride] for i < n, converted; strides in elements. Floats to integers saturate (NaN: 0); everything
/// to bool asks for non-zero; integers wrap. bf16 and f16 round to nearest even.
using ConvertFn = void (*)(void* dst, int64_t dst_stride, const void* src, int64_t src_stride, int64_t n);
ConvertFn converter(DType dst, DType src);

}  // namespace weft::cpu
