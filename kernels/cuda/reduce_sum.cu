#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {

void reduce_sums(const Reduction<float>& r) { reduce<AsIs<order::Sum<float>, float>, float, BFloat16, Half>(r); }
void reduce_sums(const Reduction<double>& r) { reduce<AsIs<order::Sum<double>, double>, double>(r); }
void reduce_sums(const Reduction<i64>& r) { reduce<AsIs<order::Sum<i64>, i64>, i64, Bool>(r); }

void reduce_sum(const OpCall& c) {
  with_accumulator(c.out[0].dtype(), [&](auto t) {
    using Acc = typename decltype(t)::type;
    const auto& a = c.as<ReduceAttrs>();
    const cpu::ReducePlan plan(c.in[0], a.mask, kAccumulator<Acc>);
    Ends<Acc> ends = ends_in<Acc>(c.out[0]);
    if (std::is_floating_point_v<Acc> && a.divisor != 1.0) ends.how = Ending::divide, ends.number = Acc(a.divisor);
    reduce_sums({plan, ends});
  });
}

}  // namespace weft::gpu
