#pragma once
#include <cstdint>

#include "core/dispatch.h"
#include "core/ops/record.h"
#include "core/tensor.h"

namespace weft {

/// A vectorised loop over n contiguous elements; all operands in the compute type (f32, f64 or i64), `out` too, except
/// that loops of comparisons write bytes 0/1. `out` may be one of the inputs.
using LoopFn = void (*)(void* out, const void* const* in, const Scalar* params, int64_t n);
/// The kernel of a device for the same arguments as cpu::run_pointwise; all tensors but 0-dim inputs are on the device.
using DeviceLoopFn = void (*)(DType compute, bool truth, const Tensor& out, const Tensor* in, int n,
                              const Scalar* params);
struct Loops {
  LoopFn f32 = nullptr, f64 = nullptr, i64 = nullptr;
  bool writes_bool = false;
  mutable DeviceLoopFn cuda = nullptr;  ///< set when the backend is loaded (core/device_backend.h)
};

/// What the engine knows of a pointwise op, derived from its record (make_pointwise_info).
struct PointwiseInfo {
  OpRecord record;  ///< name; what autograd and later passes see of any op
  const char* name;
  int arity;
  int params;
  ops::Dtypes dtypes;
  unsigned needs[3];  ///< what the gradient of input i reads: ops::kA | kB | kC | kY
  unsigned promotes;
  unsigned constants;  ///< inputs that never have a gradient
  unsigned passes;     ///< inputs whose gradient is that of the output
  unsigned scales;     ///< inputs whose gradient is that of the output times params[0]
  bool divides;        ///< an integer second input holding 0 is an error
  bool differentiable;
  Loops forward;
  Loops backward[3];
  /// The text of backward i over Tensors, for derivatives of derivatives: values = g, a, b.., y (undefined where not
  /// needed).
  Tensor (*differentiate)(int i, const Tensor* values, const Scalar* params);
};

inline constexpr int kMaxParams = 4;

/// Runs any pointwise op: promotes, broadcasts, computes, records. `in`: arity tensors.
Tensor pointwise(const PointwiseInfo& op, const Tensor* in, const Scalar* params = nullptr);
/// The result goes into in[0] (`op_`).
Tensor& pointwise_(const PointwiseInfo& op, Tensor& self, const Tensor* rest, const Scalar* params = nullptr);
/// The result goes into `out`, resized if its shape differs; no autograd (out= of PyTorch).
Tensor& pointwise_out(const PointwiseInfo& op, Tensor& out, const Tensor* in, const Scalar* params = nullptr);

namespace detail {
/// The fused gradient kernel i: values = g, a, b.., y.
Tensor pointwise_gradient(const PointwiseInfo& op, int i, const Tensor* values, const Scalar* params);
void record_pointwise(const PointwiseInfo& op, Tensor& out, const Tensor* in, const Scalar* params, bool inplace);
/// PyTorch's promotion over all operands: tensors over 0-dim tensors over numbers.
DType result_type_of(const Tensor* in, int n, unsigned mask);
}  // namespace detail

namespace cpu {
/// out (any layout, any dtype) = loop over `in`, broadcast to out's sizes, converted to `compute`. `truth`: inputs
/// become 0/1 first.
void run_pointwise(const Loops& loops, DType compute, bool truth, const Tensor& out, const Tensor* in, int n,
                   const Scalar* params);
}  // namespace cpu

// ---- the ops. One constant PointwiseInfo each, e.g. pointwise_ops::sigmoid.
namespace pointwise_ops {
#define WEFT_POINTWISE(Record, name) extern const PointwiseInfo name;
#define WEFT_UNARY WEFT_POINTWISE
#define WEFT_BINARY WEFT_POINTWISE
#define WEFT_TERNARY WEFT_POINTWISE
#include "core/ops/pointwise.def"
#undef WEFT_POINTWISE
#undef WEFT_UNARY
#undef WEFT_BINARY
#undef WEFT_TERNARY
}  // namespace pointwise_ops

// Functions without options; PyTorch's function of the same name, any shapes that broadcast, out-of-place.
#define WEFT_UNARY(Record, name) \
  Tensor name(const Tensor& x);  \
  Tensor& name##_out(Tensor& out, const Tensor& x);
#define WEFT_BINARY(Record, name)                \
  Tensor name(const Tensor& a, const Tensor& b); \
  Tensor name(const Tensor& a, Scalar b);        \
  Tensor name(Scalar a, const Tensor& b);        \
  Tensor& name##_out(Tensor& out, const Tensor& a, const Tensor& b);
#define WEFT_TERNARY(Record, name) Tensor name(const Tensor& a, const Tensor& b, const Tensor& c);
#define WEFT_POINTWISE(Record, name)
#include "core/ops/pointwise.def"
#undef WEFT_POINTWISE
#undef WEFT_UNARY
#undef WEFT_BINARY
#undef WEFT_TERNARY

}  // namespace weft
