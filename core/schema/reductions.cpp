#include "core/ops/reduce.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

#define WEFT_REDUCE(name)                                                                                                    \
  {#name, "input, dim=None, keepdim=False, *, dtype=None",                                                                   \
   [](const Args& a) -> Value { return name(a.tensor(0), {.dim = a.dim_list(1), .keepdim = a.flag(2), .dtype = a.dtype(3)}); }}

const OpSchema kRows[] = {
    WEFT_REDUCE(sum), WEFT_REDUCE(mean), WEFT_REDUCE(prod), WEFT_REDUCE(amax), WEFT_REDUCE(amin), WEFT_REDUCE(any), WEFT_REDUCE(all),
};

}  // namespace

std::span<const OpSchema> reductions() { return kRows; }

}  // namespace weft::schema
