#include "core/ops/statistics.h"
#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {
namespace {

struct Either {
  WEFT_FN static u32 identity() { return 0; }
  WEFT_FN static u32 combine(u32 a, u32 b) { return a | b; }
};
struct Both {
  WEFT_FN static u32 identity() { return 1; }
  WEFT_FN static u32 combine(u32 a, u32 b) { return a & b; }
};

template <class Combine, class Acc>
void truth(const OpCall& c) {
  const cpu::ReducePlan plan(c.in[0], c.as<ReduceAttrs>().mask, DType::i64, cpu::Prepare::truth);
  reduce<Truth<Combine, Acc>>({plan, ends_in<Acc>(c.out[0])});
}

}  // namespace

void reduce_any(const OpCall& c) { truth<Either, u32>(c); }
void reduce_all(const OpCall& c) { truth<Both, u32>(c); }
void count_nonzero(const OpCall& c) { truth<order::Sum<i64>, i64>(c); }

}  // namespace weft::gpu
