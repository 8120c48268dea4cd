#pragma once

#include "core/tensor.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/fault.h"

namespace weft::gpu {

/// Memory of i64 or i32 indices, and what is said of those out of range.
struct IndexRef {
  const void* data;
  bool wide;
  i64 extent;  ///< -1: they have been checked
  FaultSite fault;

  explicit IndexRef(const Tensor& t) : data(t.impl()->data), wide(t.dtype() == DType::i64), extent(-1), fault{} {}
  IndexRef(const Tensor& t, i64 size, const char* op, int dim)
      : data(t.impl()->data),
        wide(t.dtype() == DType::i64),
        extent(size),
        fault(fault_site(detail::Fault::index, "{}: index {} out of range for dim {} of size {}", op, dim, size)) {}

  WEFT_FN i64 read(i64 offset) const {
    return wide ? static_cast<const i64*>(data)[offset] : i64(static_cast<const int*>(data)[offset]);
  }
  __device__ __forceinline__ i64 checked(i64 index) const {
    if (extent < 0 || u64(index) < u64(extent)) return index;
    fault.report(index);
    return 0;
  }
};

}  // namespace weft::gpu
