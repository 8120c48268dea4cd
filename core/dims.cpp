#include "core/dims.h"

#include <algorithm>

#include "core/error.h"

namespace weft {

int64_t checked_numel(const Dims& sizes, const char* op) {
  int64_t n = 1;
  bool zero = false, overflow = false;
  for (int64_t s : sizes) {
    WEFT_CHECK(s >= 0, "{}: negative size in {}; sizes are >= 0", op, sizes);
    if (s == 0)
      zero = true;
    else
      overflow |= __builtin_mul_overflow(n, s, &n);
  }
  WEFT_CHECK(!overflow || zero, "{}: {} has more than 2^63 elements", op, sizes);
  return zero ? 0 : n;
}

Dims contiguous_strides(const Dims& sizes) {
  Dims s;
  s.resize(sizes.size());
  int64_t step = 1;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    s[i] = step;
    step *= std::max<int64_t>(sizes[i], 1);
  }
  return s;
}

Dims channels_last_strides(const Dims& sizes) {
  WEFT_CHECK(sizes.size() == 4 || sizes.size() == 5, "channels_last: needs 4 or 5 dimensions, got {}", sizes);
  Dims s;
  s.resize(sizes.size());
  s[1] = 1;
  int64_t step = std::max<int64_t>(sizes[1], 1);
  for (int i = sizes.size() - 1; i >= 2; --i) {
    s[i] = step;
    step *= std::max<int64_t>(sizes[i], 1);
  }
  s[0] = step;
  return s;
}

int wrap_dim(int64_t dim, int64_t n, const char* op) {
  int64_t m = std::max<int64_t>(n, 1);
  WEFT_CHECK_INDEX(dim >= -m && dim < m, "{}: dim {} out of range for {} dimensions; use {} to {}", op, dim, n, -m,
                   m - 1);
  return static_cast<int>(dim < 0 ? dim + m : dim);
}

Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op) {
  if (a == b) return a;
  Dims out;
  out.resize(std::max(a.size(), b.size()));
  for (int i = 0; i < out.size(); ++i) {
    int ia = i - (out.size() - a.size()), ib = i - (out.size() - b.size());
    int64_t sa = ia < 0 ? 1 : a[ia], sb = ib < 0 ? 1 : b[ib];
    WEFT_CHECK(sa == sb || sa == 1 || sb == 1,
               "{}: shapes {} and {} do not broadcast; sizes must be equal or 1 from the right", op, a, b);
    out[i] = sa == 1 ? sb : sa;
  }
  return out;
}

}  // namespace weft
