#pragma once
// One block of a reduction over neighbouring elements, its lanes in registers: the bits of reduction::block.
#include "core/reduction_order.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu {

namespace detail {
template <class Acc, class V>
inline V combine(reduction::Sum<Acc>, V a, V b) {
  return a + b;
}
template <class Acc, class V>
inline V combine(reduction::Product<Acc>, V a, V b) {
  return a * b;
}
template <class Acc, class V>
inline V combine(reduction::Max<Acc>, V a, V b) {
  return ((a > b) | (a != a)) ? a : b;
}
template <class Acc, class V>
inline V combine(reduction::Min<Acc>, V a, V b) {
  return ((a < b) | (a != a)) ? a : b;
}
}  // namespace detail

template <class Combine, class Acc>
Acc reduce_block(const Acc* p, int64_t n) {
  constexpr int kWide = reduction::kLanes;
  if (n < kWide) return reduction::block<Combine, Acc>(n, [p](int64_t i) { return p[i]; });
  constexpr int kParts = kWide / kLanes<Acc>;
  Vec<Acc> lane[kParts];
  for (int k = 0; k < kParts; ++k) lane[k] = splat<Acc>(Combine::identity());
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide)
    for (int k = 0; k < kParts; ++k) lane[k] = detail::combine(Combine{}, lane[k], load(p + i + k * kLanes<Acc>));
  Acc lanes[kWide];
  for (int k = 0; k < kParts; ++k) store(lanes + k * kLanes<Acc>, lane[k]);
  reduction::fill_lanes<Combine>(lanes, n - i, [p, i](int64_t j) { return p[i + j]; });
  return reduction::tree<Combine>(lanes);
}

/// A whole row, the bits of reduction::row: block(first, count) puts `count` elements side by side and returns where.
template <class Combine, class Acc, class Block>
Acc reduce_row_by(int64_t n, Block block) {
  if (n <= reduction::kBlock) return reduce_block<Combine, Acc>(block(int64_t{0}, n), n);
  return reduction::block<Combine, Acc>(reduction::block_count(n), [&](int64_t b) {
    const int64_t count = reduction::block_size(n, b);
    return reduce_block<Combine, Acc>(block(b * reduction::kBlock, count), count);
  });
}
template <class Combine, class Acc>
Acc reduce_row(const Acc* p, int64_t n) {
  return reduce_row_by<Combine, Acc>(n, [p](int64_t first, int64_t) { return p + first; });
}

/// The largest of a row of numbers. NaN is left out (a row of nothing else gives -inf): for sums of exp(x - largest),
/// which bring it back.
template <class T>
T largest_number(const T* x, int64_t n) {
  constexpr int kParts = 8, kStep = kParts * kLanes<T>;
  Vec<T> lane[kParts];
  for (Vec<T>& v : lane) v = splat<T>(reduction::lowest(T(0)));
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
    for (int k = 0; k < kParts; ++k) lane[k] = larger<T>(load(x + i + k * kLanes<T>), lane[k]);
  for (; i + kLanes<T> <= n; i += kLanes<T>) lane[0] = larger<T>(load(x + i), lane[0]);
  for (int half = kParts / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) lane[k] = larger<T>(lane[k], lane[k + half]);
  T largest = reduction::lowest(T(0));
  for (int j = 0; j < kLanes<T>; ++j) largest = lane[0][j] > largest ? lane[0][j] : largest;
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

}  // namespace weft::cpu
