#pragma once
#include <cstring>

#include "core/tensor.h"

namespace weft {

/// The same dtype, sizes and bytes, wherever the two lie.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.sizes() != b.sizes()) return false;
  const Tensor x = a.detach().to("cpu").contiguous(), y = b.detach().to("cpu").contiguous();
  return x.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), static_cast<size_t>(x.nbytes())) == 0;
}

}  // namespace weft
