#include "core/ops/extents.h"

#include <cstdio>

#include "core/error.h"

namespace weft::detail {

void check_extents(const Extents& e, int dims, const char* op, const char* what) {
  WEFT_CHECK(e.values.size() == 1 || e.values.size() == dims, "{}: {} needs 1 or {} values, got {}", op, what, dims,
             e.values);
}

MemoryFormat suggest_memory_format(const Tensor& t) {
  if (t.dim() != 4 && t.dim() != 5) return MemoryFormat::contiguous;
  // Channels first, then the spatial dimensions from the last, then the batch: strides must not fall. A tensor that is
  // also contiguous in the plain order (one channel, or one pixel) counts as plain.
  const Dims &sizes = t.sizes(), &strides = t.strides();
  if (strides[1] == 0) return MemoryFormat::contiguous;
  int64_t least = 0;
  for (int i = 0; i < t.dim(); ++i) {
    const int d = i == 0 ? 1 : i == t.dim() - 1 ? 0 : t.dim() - i;
    if (sizes[d] == 0 || strides[d] < least) return MemoryFormat::contiguous;
    if (d == 0 && least == strides[1]) return MemoryFormat::contiguous;
    least = strides[d] * (sizes[d] > 1 ? sizes[d] : 1);
  }
  return t.dim() == 4 ? MemoryFormat::channels_last : MemoryFormat::channels_last_3d;
}

Dims strides_of(const Dims& sizes, MemoryFormat format) {
  return format == MemoryFormat::contiguous ? contiguous_strides(sizes) : channels_last_strides(sizes);
}

OpName::OpName(const char* stem, int dims) { std::snprintf(text, sizeof text, "%s%dd", stem, dims); }

}  // namespace weft::detail
