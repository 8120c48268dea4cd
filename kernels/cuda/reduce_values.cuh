#pragma once

#include "core/ops/reduce.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/reduce_run.cuh"

// Reductions whose result is a combination of the elements themselves.
namespace weft::gpu {

template <class T>
inline constexpr DType kAccumulator = std::is_same_v<T, float>    ? DType::f32
                                      : std::is_same_v<T, double> ? DType::f64
                                                                  : DType::i64;

template <class Acc>
Ends<Acc> ends_in(const Tensor& out) {
  Ends<Acc> ends;
  if (!out.defined()) return ends;
  ends.out = out.impl()->data;
  ends.dtype = out.dtype();
  return ends;
}

template <template <class> class Combine, class Acc>
void combine_values(const OpCall& c) {
  const auto& a = c.as<ReduceAttrs>();
  const cpu::ReducePlan plan(c.in[0], a.mask, kAccumulator<Acc>);
  Ends<Acc> ends = ends_in<Acc>(c.out[0]);
  if (std::is_floating_point_v<Acc> && a.divisor != 1.0) ends.how = Ending::divide, ends.number = Acc(a.divisor);
  reduce<AsIs<Combine<Acc>, Acc>>({plan, ends});
}

template <template <class> class Combine>
void combine_values(const OpCall& c) {
  switch (cpu::accumulator(c.out[0].dtype())) {
    case DType::f32:
      return combine_values<Combine, float>(c);
    case DType::f64:
      return combine_values<Combine, double>(c);
    default:
      return combine_values<Combine, i64>(c);
  }
}

}  // namespace weft::gpu
