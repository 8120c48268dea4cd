#include "core/ops/reduce.h"

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/reduce_run.cuh"

namespace weft::gpu {
namespace {

template <template <class> class Combine, class Acc>
void run(const OpCall& c) {
  const auto& a = c.as<ReduceAttrs>();
  const Tensor& out = c.out[0];
  constexpr DType kAcc = std::is_same_v<Acc, i64> ? DType::i64 : kDTypeOf<Acc>;
  const cpu::ReducePlan plan(c.in[0], a.mask, kAcc);
  Ends<Acc> ends;
  ends.out = out.impl()->data;
  ends.dtype = out.dtype();
  if (!std::is_same_v<Acc, i64> && a.divisor != 1.0) ends.how = Ending::divide, ends.number = Acc(a.divisor);
  reduce<AsIs<Combine<Acc>, Acc>>({plan, ends});
}

template <template <class> class Combine>
void run(const OpCall& c) {
  switch (cpu::accumulator(c.out[0].dtype())) {
    case DType::f32:
      return run<Combine, float>(c);
    case DType::f64:
      return run<Combine, double>(c);
    default:
      return run<Combine, i64>(c);
  }
}

}  // namespace

void reduce_sum(const OpCall& c) { run<order::Sum>(c); }

}  // namespace weft::gpu
