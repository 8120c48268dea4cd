#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {

void reduce_extremes(const Reduction<float>& r) { reduce<Extreme<float>, float, BFloat16, Half>(r); }
void reduce_extremes(const Reduction<double>& r) { reduce<Extreme<double>>(r); }
void reduce_extremes(const Reduction<i64>& r) { reduce<Extreme<i64>, i64>(r); }

namespace {

void extreme(const OpCall& c, bool smallest) {
  with_accumulator(c.out[0].dtype(), [&](auto t) {
    using Acc = typename decltype(t)::type;
    const cpu::ReducePlan plan(c.in[0], c.as<ReduceAttrs>().mask, kAccumulator<Acc>);
    reduce_extremes(Reduction<Acc>{plan, ends_in<Acc>(c.out[0])}.turned(smallest));
  });
}

}  // namespace

void reduce_max(const OpCall& c) { extreme(c, false); }
void reduce_min(const OpCall& c) { extreme(c, true); }

}  // namespace weft::gpu
