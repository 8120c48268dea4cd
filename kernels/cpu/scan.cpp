#include "core/ops/scan.h"

#include <algorithm>

#include "core/parallel.h"
#include "kernels/cpu/element.h"
#include "kernels/cpu/transpose.h"

namespace weft::cpu {
namespace {

template <class T>
using Sum = std::conditional_t<is_half<T>, float, std::conditional_t<std::is_same_v<T, float>, double, T>>;

// `count` steps of `width` lines side by side: one element of each line, then the next of each.
template <bool Product, class T>
void scan_steps(const T* x, T* y, int64_t stride, Sum<T>* sum, int64_t count, int64_t width) {
  if (width == 1) {  // in a register
    Sum<T> one = sum[0];
    for (int64_t i = 0; i < count; ++i) {
      Sum<T> v = static_cast<Sum<T>>(widen(x[i * stride]));
      one = static_cast<Sum<T>>(Product ? one * v : one + v);
      y[i * stride] = narrow<T>(static_cast<Wide<T>>(one));
    }
    sum[0] = one;
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    for (int64_t k = 0; k < width; ++k) {
      Sum<T> v = static_cast<Sum<T>>(widen(x[i * stride + k]));
      sum[k] = static_cast<Sum<T>>(Product ? sum[k] * v : sum[k] + v);
      y[i * stride + k] = narrow<T>(static_cast<Wide<T>>(sum[k]));
    }
}

// Lines that lie in memory one after the other: kLines of them are turned to lie side by side, a tile at a time, since
// one line alone waits for every addition.
template <bool Product, class T>
void scan_rows(const T* x, T* y, int64_t lines, int64_t n) {
  constexpr int64_t kLines = 16, kTile = 64, item = sizeof(T);
  const int64_t groups = (lines + kLines - 1) / kLines;
  parallel_for(groups, std::max<int64_t>(1, 16384 / (n * kLines)), [&](int64_t begin, int64_t end) {
    alignas(64) T tile[kTile * kLines] = {};
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = g * kLines * n, rows = std::min(kLines, lines - g * kLines);
      Sum<T> sum[kLines];
      std::fill(sum, sum + kLines, Sum<T>(Product));
      for (int64_t i = 0; i < n; i += kTile) {
        const int64_t count = std::min(kTile, n - i);
        transpose_bytes(x + first + i, n, tile, kLines, rows, count, item);
        scan_steps<Product>(tile, tile, kLines, sum, count, kLines);
        transpose_bytes(tile, kLines, y + first + i, n, count, rows, item);
      }
    }
  });
}

// x and y are [outer, n, inner], contiguous.
template <bool Product, class T>
void scan_lines(const T* x, T* y, int64_t outer, int64_t n, int64_t inner) {
  if (inner == 1 && outer > 1) return scan_rows<Product>(x, y, outer, n);
  constexpr int64_t kColumns = 128;
  const int64_t cuts = (inner + kColumns - 1) / kColumns;
  parallel_for(outer * cuts, std::max<int64_t>(1, 16384 / (n * std::min(inner, kColumns))),
               [&](int64_t begin, int64_t end) {
                 for (int64_t p = begin; p < end; ++p) {
                   const int64_t first = p % cuts * kColumns, width = std::min(kColumns, inner - first);
                   const T* from = x + p / cuts * n * inner + first;
                   T* to = y + p / cuts * n * inner + first;
                   Sum<T> sum[kColumns];
                   std::fill(sum, sum + width, Sum<T>(Product));
                   scan_steps<Product>(from, to, inner, sum, n, width);
                 }
               });
}

}  // namespace

void scan(const OpCall& c) {
  const auto& a = c.as<ScanOp::Attrs>();
  const Tensor& x = c.in[0];
  if (x.numel() == 0) return;
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < a.dim; ++d) outer *= x.sizes()[d];
  for (int d = a.dim + 1; d < x.dim(); ++d) inner *= x.sizes()[d];
  for_dtype(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* from = static_cast<const T*>(x.data_ptr());
    T* to = static_cast<T*>(c.out[0].data_ptr());
    if constexpr (!std::is_same_v<T, bool>) {
      if (a.product)
        scan_lines<true>(from, to, outer, x.sizes()[a.dim], inner);
      else
        scan_lines<false>(from, to, outer, x.sizes()[a.dim], inner);
    }
  });
}

}  // namespace weft::cpu
