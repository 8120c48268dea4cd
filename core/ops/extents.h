#pragma once
#include <concepts>
#include <initializer_list>
#include <string_view>

#include "core/tensor.h"

// What the ops over images share: sizes per spatial dimension and the memory format of results.
namespace weft {

/// One integer for all spatial dimensions, or one for each: `2`, `{2, 1}`. Empty: not given.
struct Extents {
  Dims values;
  Extents() = default;
  template <std::integral T>
  Extents(T v) : values{static_cast<int64_t>(v)} {}
  Extents(std::initializer_list<int64_t> v) : values(v) {}
  Extents(const Dims& v) : values(v) {}
  bool given() const { return !values.empty(); }
  int64_t operator[](int d) const { return values.size() == 1 ? values[0] : values[d]; }
};

namespace detail {
/// weft::Error unless e holds 1 or `dims` values.
void check_extents(const Extents& e, int dims, const char* op, const char* what);
/// channels_last (4 dimensions) or channels_last_3d (5) where the strides say so, else contiguous (torch's
/// suggest_memory_format).
MemoryFormat suggest_memory_format(const Tensor& t);
/// Dense strides of `sizes` in that format.
Dims strides_of(const Dims& sizes, MemoryFormat format);
/// "conv2d" from "conv" and 2.
struct OpName {
  char text[32];
  OpName(const char* stem, int dims);
  operator const char*() const { return text; }
};
}  // namespace detail
}  // namespace weft
