#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {

void reduce_prod(const OpCall& c) {
  with_accumulator(c.out[0].dtype(), [&](auto t) {
    using Acc = typename decltype(t)::type;
    const cpu::ReducePlan plan(c.in[0], c.as<ReduceAttrs>().mask, kAccumulator<Acc>);
    reduce<AsIs<order::Product<Acc>, Acc>>({plan, ends_in<Acc>(c.out[0])});
  });
}

}  // namespace weft::gpu
