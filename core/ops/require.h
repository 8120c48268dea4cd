#pragma once
#include "core/dispatch.h"
#include "core/error.h"

// A check of values as an op of its own: it takes its turn with the kernels, so that a compiled function need not stop
// for it.
namespace weft {

struct RequireOp {  ///< truth bool [...] -> nothing
  struct Attrs {
    detail::Fault fault;
    const char* text;
    const char* who;
    int64_t number;
  };
  static const OpRecord record;
};

namespace detail {
/// Throws unless all of `truth` (bool) holds. `text` lives as long as the program; its {} are `who`, then `number`.
void require(const Tensor& truth, const char* text, const char* who, int64_t number = 0, Fault fault = Fault::user);
}  // namespace detail

namespace cpu {
void require(const OpCall& c);
}

}  // namespace weft
