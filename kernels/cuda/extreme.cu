#include "core/ops/extreme.h"

#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {
namespace {

// NaN is best; among equals the first place. A total order: the result does not depend on how elements are grouped.
template <bool Largest, class T>
struct Best {
  WEFT_FN static Found<T> identity() {
    return {Largest ? order::lowest(T(0)) : order::highest(T(0)), order::highest(i64(0))};
  }
  WEFT_FN static Found<T> combine(Found<T> a, Found<T> b) {
    const bool nan_a = math::isnan(a.value), nan_b = math::isnan(b.value), first = b.index < a.index;
    const bool better = Largest ? b.value > a.value : b.value < a.value;
    const bool take = nan_b ? !nan_a || first : !nan_a && (better || (b.value == a.value && first));
    return take ? b : a;
  }
};

template <class Combining, class T>
struct LocateAgain {
  using Acc = Found<T>;
  using Value = Found<T>;
  using Combine = Combining;
  using Again = LocateAgain;
  static constexpr bool kCentred = false, kHeavy = false;
  WEFT_FN static Acc take(Acc x, i64, T, T) { return x; }
};
template <class Combining, class T>
struct Locate {
  using Acc = Found<T>;
  using Value = T;
  using Combine = Combining;
  using Again = LocateAgain<Combining, T>;
  static constexpr bool kCentred = false, kHeavy = false;
  WEFT_FN static Acc take(T x, i64 index, T, T) { return {x, index}; }
};

template <bool Largest, class T>
void locate_as(const OpCall& c) {
  const cpu::ReducePlan plan(c.in[0], c.as<ReduceAttrs>().mask, kAccumulator<T>);
  Ends<Found<T>> ends;
  if (c.n_out == 2) ends = ends_in<Found<T>>(c.out[0]);
  ends.indices = static_cast<i64*>(c.out[c.n_out - 1].impl()->data);
  reduce<Locate<Best<Largest, T>, T>>({plan, ends});
}

template <bool Largest>
void locate(const OpCall& c) {
  switch (cpu::accumulator(c.in[0].dtype())) {
    case DType::f32:
      return locate_as<Largest, float>(c);
    case DType::f64:
      return locate_as<Largest, double>(c);
    default:
      return locate_as<Largest, i64>(c);
  }
}

}  // namespace

void max_index(const OpCall& c) { locate<true>(c); }
void min_index(const OpCall& c) { locate<false>(c); }

}  // namespace weft::gpu
