#include "core/written_inputs.h"

#include "core/ops/batch_norm.h"

namespace weft {

bool may_write_inputs(const OpRecord& op) { return &op == &BatchNormOp::record; }

unsigned written_inputs(const OpCall& c) {
  constexpr unsigned kRunning = 1u << 3 | 1u << 4;  // mean and variance
  return may_write_inputs(c.op) && c.as<BatchNormAttrs>().training && c.in[3].defined() ? kRunning : 0;
}

}  // namespace weft
