#include "core/ops/statistics.h"
#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {
namespace {

// Whether one is true; turned on the way in and out, whether all are.
struct AnyTrue {
  using Acc = u32;
  using Value = Bool;
  struct Combine {
    WEFT_FN static u32 identity() { return 0; }
    WEFT_FN static u32 combine(u32 a, u32 b) { return a | b; }
  };
  using Again = AsIs<Combine, u32>;
  static constexpr bool kCentred = false, kHeavy = false;
  WEFT_FN static u32 take(Bool x, i64, u32, u32 parameter) { return turn_where_asked(u32(x.v != 0), parameter); }
};

cpu::ReducePlan plan_of(const OpCall& c) {
  return cpu::ReducePlan(c.in[0], c.as<ReduceAttrs>().mask, DType::i64, cpu::Prepare::truth);
}

void truth(const OpCall& c, bool all) {
  const cpu::ReducePlan plan = plan_of(c);
  reduce<AnyTrue, Bool, float>(Reduction<u32>{plan, ends_in<u32>(c.out[0])}.turned(all));
}

}  // namespace

void reduce_any(const OpCall& c) { truth(c, false); }
void reduce_all(const OpCall& c) { truth(c, true); }
void count_nonzero(const OpCall& c) {
  const cpu::ReducePlan plan = plan_of(c);
  reduce<Truth<order::Sum<i64>, i64>, Bool, float>({plan, ends_in<i64>(c.out[0])});
}

}  // namespace weft::gpu
