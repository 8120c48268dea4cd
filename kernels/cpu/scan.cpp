#include "core/ops/scan.h"

#include <algorithm>

#include "core/parallel.h"
#include "kernels/cpu/element.h"

namespace weft::cpu {
namespace {

template <class T>
using Sum = std::conditional_t<is_half<T>, float, std::conditional_t<std::is_same_v<T, float>, double, T>>;

// x and y are [outer, n, inner], contiguous.
template <bool Product, class T>
void scan_lines(const T* x, T* y, int64_t outer, int64_t n, int64_t inner) {
  constexpr int64_t kColumns = 128;
  const int64_t cuts = (inner + kColumns - 1) / kColumns;
  parallel_for(outer * cuts, std::max<int64_t>(1, 16384 / (n * std::min(inner, kColumns))),
               [&](int64_t begin, int64_t end) {
                 for (int64_t p = begin; p < end; ++p) {
                   const int64_t first = p % cuts * kColumns, width = std::min(kColumns, inner - first);
                   const T* from = x + p / cuts * n * inner + first;
                   T* to = y + p / cuts * n * inner + first;
                   if (inner == 1) {  // in a register
                     Sum<T> one = Sum<T>(Product);
                     for (int64_t i = 0; i < n; ++i) {
                       Sum<T> v = static_cast<Sum<T>>(widen(from[i]));
                       one = static_cast<Sum<T>>(Product ? one * v : one + v);
                       to[i] = narrow<T>(static_cast<Wide<T>>(one));
                     }
                     continue;
                   }
                   Sum<T> sum[kColumns];
                   std::fill(sum, sum + width, Sum<T>(Product));
                   for (int64_t i = 0; i < n; ++i)
                     for (int64_t k = 0; k < width; ++k) {
                       Sum<T> v = static_cast<Sum<T>>(widen(from[i * inner + k]));
                       sum[k] = static_cast<Sum<T>>(Product ? sum[k] * v : sum[k] + v);
                       to[i * inner + k] = narrow<T>(static_cast<Wide<T>>(sum[k]));
                     }
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
