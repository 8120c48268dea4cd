#pragma once
#include "core/dispatch.h"
#include "core/ops/math_basic.h"

// Evenly spaced numbers (torch.arange, torch.linspace); the functions are declared in core/tensor.h.
namespace weft {

/// -> out[i] = start + i step, i64 or f64.
struct ArangeOp {
  struct Attrs {
    Scalar start, step;
  };
  static const OpRecord record;
};
/// -> out[i], f32 or f64: both halves count from their own end.
struct LinspaceOp {
  struct Attrs {
    double start, end;
  };
  static const OpRecord record;
};

namespace cpu {
void arange(const OpCall& c);
void linspace(const OpCall& c);
}  // namespace cpu

namespace detail {
/// Element i of n numbers from a to b, in steps of (b - a) / (n - 1). One text for the CPU and for device code.
template <class F>
WEFT_FN F linspace_value(F a, F b, F step, int64_t i, int64_t n) {
  return i < n / 2 || n == 1 ? a + step * static_cast<F>(i) : b - step * static_cast<F>(n - 1 - i);
}
template <class F>
WEFT_FN F linspace_step(F a, F b, int64_t n) {
  return n > 1 ? (b - a) / static_cast<F>(n - 1) : F(0);
}
}  // namespace detail

}  // namespace weft
