#pragma once
#include <cstdint>

#include "core/dtype.h"

// An operand of a launch as kernels see it. Also compiled at run time, where kMaxDims comes before this text.
#if !defined(__CUDACC_RTC__)
#include "core/dims.h"
#endif

namespace weft::gpu {

inline constexpr int kMaxOperands = 6;

/// One operand: memory on the device, or (null) a number that the host knows.
struct LoopOperand {
  void* data;
  int64_t strides[kMaxDims];  ///< in elements; 0 where broadcast
  DType dtype;
  double number;  ///< of a 0-dim tensor of the host
  int64_t integer;
};

}  // namespace weft::gpu
