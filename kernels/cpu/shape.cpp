#include "core/ops/shape.h"

#include <algorithm>
#include <cstring>

#include "core/ops/copy.h"
#include "core/parallel.h"
#include "kernels/cpu/element.h"

namespace weft::cpu {
namespace {
void copy_into(Tensor to, const Tensor& from) { copy({CopyOp::record, &from, 1, &to, 1, nullptr}); }
}  // namespace

void cat(const OpCall& c) {
  const auto& a = c.as<CatOp::Attrs>();
  const Tensor& out = c.out[0];
  Dims sizes = out.sizes();
  int64_t at = out.storage_offset();
  for (int i = 0; i < c.n_in; ++i) {
    const int64_t length = sizes[a.dim] = a.lengths()[i];
    if (length > 0 && c.in[i].numel() > 0) copy_into(weft::detail::alias(out, sizes, out.strides(), at), c.in[i]);
    at += length * out.strides()[a.dim];
  }
}

// Read backwards: from the last element on, with a negative stride.
void flip(const OpCall& c) {
  const Tensor& x = c.in[0];
  if (x.numel() == 0) return;
  Dims strides = x.strides();
  int64_t at = x.storage_offset();
  if (x.dim() > 0) {
    for (int64_t d : c.as<FlipOp::Attrs>().dims) {
      int64_t& stride = strides[static_cast<int>(d)];
      at += (x.sizes()[static_cast<int>(d)] - 1) * stride;
      stride = -stride;
    }
  }
  const Tensor& out = c.out[0];
  const int last = x.dim() - 1;
  if (last < 0 || out.strides()[last] != 1 || strides[last] != -1)
    return copy_into(out, weft::detail::alias(x, x.sizes(), strides, at));
  // The last dimension backwards: as whole vectors, row by row.
  const int64_t n = x.sizes()[last];
  Dims rows = x.sizes(), steps[2] = {out.strides(), strides};
  rows.erase(last);
  steps[0].erase(last);
  steps[1].erase(last);
  for_width(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    T* to = static_cast<T*>(out.data_ptr());
    const T* from = static_cast<const T*>(x.data_ptr()) + (at - x.storage_offset());
    parallel_for(x.numel() / n, std::max<int64_t>(1, 32768 / n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int64_t rest = r, a = 0, b = 0;
        for (int d = last - 1; d >= 0; --d) {
          const int64_t i = rest % rows[d];
          rest /= rows[d];
          a += i * steps[0][d];
          b += i * steps[1][d];
        }
        T* row = to + a;
        const T* end_of_row = from + b - (n - 1);
        for (int64_t i = 0; i < n; ++i) row[i] = end_of_row[n - 1 - i];
      }
    });
  });
}

void triangle(const OpCall& c) {
  const auto& a = c.as<TriangleOp::Attrs>();
  const Tensor& x = c.in[0];
  if (x.numel() == 0) return;
  const int64_t rows = x.sizes()[x.dim() - 2], cols = x.sizes().back(),
                width = static_cast<int64_t>(itemsize(x.dtype()));
  const char* from = static_cast<const char*>(x.data_ptr());
  char* to = static_cast<char*>(c.out[0].data_ptr());
  parallel_for(x.numel() / cols, std::max<int64_t>(1, 65536 / cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      // Columns [0, edge) belong to the lower part.
      const int64_t row = r % rows, line = r * cols * width;
      const int64_t edge = std::clamp<int64_t>(a.upper ? row + a.diagonal : row + a.diagonal + 1, 0, cols) * width,
                    last = cols * width;
      if (a.upper) {
        std::memset(to + line, 0, static_cast<size_t>(edge));
        std::memcpy(to + line + edge, from + line + edge, static_cast<size_t>(last - edge));
      } else {
        std::memcpy(to + line, from + line, static_cast<size_t>(edge));
        std::memset(to + line + edge, 0, static_cast<size_t>(last - edge));
      }
    }
  });
}

}  // namespace weft::cpu
