#include "core/ops/require.h"

#include "core/ops/reduce.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord RequireOp::record{.name = "require", .cpu = cpu::require};

void detail::require(const Tensor& truth, const char* text, const char* who, int64_t number, Fault fault) {
  NoGrad guard;
  const Tensor all = truth.all();
  const RequireOp::Attrs attrs{fault, text, who, number};
  weft::dispatch(RequireOp::record, {&all, 1}, {}, attrs);
}

}  // namespace weft
