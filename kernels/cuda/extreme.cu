#include "core/ops/extreme.h"

#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {
namespace {

// NaN is best; among equals the first place. A total order: the result does not depend on how elements are grouped.
template <class T>
struct Best {
  WEFT_FN static Found<T> identity() { return {order::lowest(T(0)), order::highest(i64(0))}; }
  WEFT_FN static Found<T> combine(Found<T> a, Found<T> b) {
    const bool nan_a = math::isnan(a.value), nan_b = math::isnan(b.value), first = b.index < a.index;
    const bool take = nan_b ? !nan_a || first : !nan_a && (b.value > a.value || (b.value == a.value && first));
    return take ? b : a;
  }
};

template <class T>
struct LocateAgain {
  using Acc = Found<T>;
  using Value = Found<T>;
  using Combine = Best<T>;
  using Again = LocateAgain;
  static constexpr bool kCentred = false, kHeavy = false;
  WEFT_FN static Acc take(Acc x, i64, T, T) { return x; }
};
template <class T>
struct Locate {
  using Acc = Found<T>;
  using Value = T;
  using Combine = Best<T>;
  using Again = LocateAgain<T>;
  static constexpr bool kCentred = false, kHeavy = false;
  WEFT_FN static Acc take(T x, i64 index, T, T parameter) { return {turn_where_asked(x, parameter), index}; }
};

void locate(const OpCall& c, bool smallest) {
  with_accumulator(c.in[0].dtype(), [&](auto t) {
    using T = typename decltype(t)::type;
    const cpu::ReducePlan plan(c.in[0], c.as<ReduceAttrs>().mask, kAccumulator<T>);
    Ends<Found<T>> ends;
    if (c.n_out == 2) ends = ends_in<Found<T>>(c.out[0]);
    ends.indices = static_cast<i64*>(c.out[c.n_out - 1].impl()->data);
    const auto r = Reduction<Found<T>>{plan, ends}.turned(smallest);
    if constexpr (std::is_same_v<T, float>)
      reduce<Locate<T>, float, BFloat16, Half>(r);
    else if constexpr (std::is_same_v<T, i64>)
      reduce<Locate<T>, i64>(r);
    else
      reduce<Locate<T>>(r);
  });
}

}  // namespace

void max_index(const OpCall& c) { locate(c, false); }
void min_index(const OpCall& c) { locate(c, true); }

}  // namespace weft::gpu
