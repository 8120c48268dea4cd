#include "core/ops/range.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"

namespace weft {

const OpRecord ArangeOp::record{.name = "arange", .cpu = cpu::arange};
const OpRecord LinspaceOp::record{.name = "linspace", .cpu = cpu::linspace};

namespace {
template <class Attrs>
Tensor make(const OpRecord& op, int64_t n, DType wide, DType result, const Attrs& attrs, const TensorOptions& o) {
  Tensor out = detail::allocate({n}, wide, detail::device_of(o));
  dispatch(op, {}, {&out, 1}, attrs);
  out = out.to(result);
  if (o.requires_grad) out.set_requires_grad(true);
  return out;
}
}  // namespace

Tensor arange(Scalar start, Scalar end, Scalar step, const TensorOptions& o) {
  bool integers = !start.is_floating() && !end.is_floating() && !step.is_floating();
  DType t = o.dtype ? *o.dtype : integers ? DType::i64 : default_dtype();
  WEFT_CHECK(step.f64() != 0, "arange: step must not be 0");
  WEFT_CHECK(std::isfinite(start.f64()) && std::isfinite(end.f64()) && std::isfinite(step.f64()),
             "arange: needs finite start, end and step, got {}, {}, {}", start.f64(), end.f64(), step.f64());
  WEFT_CHECK(step.f64() > 0 ? start.f64() <= end.f64() : start.f64() >= end.f64(),
             "arange: cannot reach {} from {} in steps of {}", end.f64(), start.f64(), step.f64());
  WEFT_CHECK_TYPE(t != DType::bool_, "arange: not defined for bool");
  if (integers) {
    int64_t s = step.i64(), range = 0;
    WEFT_CHECK(!__builtin_sub_overflow(end.i64(), start.i64(), &range),
               "arange: the range from {} to {} does not fit into 63 bits", start.i64(), end.i64());
    int64_t n = s > 0 ? (range + s - 1) / s : (range + s + 1) / s;
    return make(ArangeOp::record, n, DType::i64, t, ArangeOp::Attrs{start, step}, o);
  }
  // For integer results PyTorch truncates the bounds first.
  double n = is_floating(t) ? std::ceil((end.f64() - start.f64()) / step.f64())
                            : std::ceil(static_cast<double>(end.i64() - start.i64()) /
                                        static_cast<double>(std::max<int64_t>(std::llabs(step.i64()), 1)) *
                                        (step.f64() < 0 ? -1 : 1));
  WEFT_CHECK(n < 9e18, "arange: {} elements do not fit into 63 bits", n);
  const int64_t count = static_cast<int64_t>(n);
  if (is_floating(t)) return make(ArangeOp::record, count, DType::f64, t, ArangeOp::Attrs{start.f64(), step.f64()}, o);
  return make(ArangeOp::record, count, DType::i64, t, ArangeOp::Attrs{start.i64(), step.i64()}, o);
}
Tensor arange(Scalar end) { return arange(end.is_floating() ? Scalar(0.0) : Scalar(0), end); }

Tensor linspace(Scalar start, Scalar end, int64_t steps, const TensorOptions& o) {
  WEFT_CHECK(steps >= 0, "linspace: steps must not be negative, got {}", steps);
  const DType t = o.dtype.value_or(default_dtype());
  // In f32 where the result is: the same rounding as PyTorch.
  const DType wide = t == DType::f64 || !is_floating(t) ? DType::f64 : DType::f32;
  return make(LinspaceOp::record, steps, wide, t, LinspaceOp::Attrs{start.f64(), end.f64()}, o);
}

}  // namespace weft
