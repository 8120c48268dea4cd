#include "core/pointwise.h"

#include "core/autocast.h"
#include "core/deferral.h"
#include "core/device_backend.h"
#include "core/dispatch.h"
#include "core/error.h"
#include "core/ops/require.h"
#include "core/profile.h"
#include "core/thread_state.h"

namespace weft {
namespace {

using ops::Dtypes;

DType compute_dtype(DType t) { return t == DType::f64 ? DType::f64 : is_floating(t) ? DType::f32 : DType::i64; }

// The dtype the op computes in (before widening), checked against the record's rule.
DType common_dtype(const PointwiseInfo& op, const Tensor* in) {
  DType t = detail::result_type_of(in, op.arity, op.promotes);
  switch (op.dtypes) {
    case Dtypes::floating:
    case Dtypes::float_compare:
      return is_floating(t) ? t : default_dtype();
    case Dtypes::same_float:
      WEFT_CHECK_TYPE(is_floating(t), "{}: needs a floating dtype, got {}; convert with .to(DType::f32)", op.name, t);
      return t;
    case Dtypes::numeric:
      WEFT_CHECK_TYPE(t != DType::bool_, "{}: not defined for bool; convert with .to(DType::u8)", op.name);
      return t;
    case Dtypes::no_bool:
      for (int i = 0; i < op.arity; ++i)
        WEFT_CHECK_TYPE(in[i].dtype() != DType::bool_, "{}: not defined for bool ({}); convert with .to(DType::u8)",
                        op.name, in[i]);
      return t;
    case Dtypes::counting:
      return t == DType::bool_ ? DType::i64 : t;
    case Dtypes::integral:
      WEFT_CHECK_TYPE(!is_floating(t), "{}: needs integers or bool, got {}", op.name, t);
      return t;
    case Dtypes::integer:
      WEFT_CHECK_TYPE(is_integral(t), "{}: needs integers, got {}", op.name, t);
      return t;
    case Dtypes::any:
    case Dtypes::compare:
    case Dtypes::logical:
      return t;
  }
  return t;
}

bool writes_bool(const PointwiseInfo& op) { return op.forward.writes_bool; }

// Numbers and other 0-dim tensors of the host go along with tensors on a device.
bool goes_along(const Tensor& t) { return t.dim() == 0 && t.device().is_cpu(); }

void check_devices(const PointwiseInfo& op, const Tensor* in) {
  for (int i = 0; i < op.arity; ++i) WEFT_CHECK(in[i].defined(), "{}: argument {} is an undefined tensor", op.name, i);
  for (int i = 1; i < op.arity; ++i)
    if (in[i].device() != in[0].device()) [[unlikely]]
      for (int j = 0; j < i; ++j)
        WEFT_CHECK(in[i].device() == in[j].device() || goes_along(in[i]) || goes_along(in[j]),
                   "{}: tensors on different devices ({}, {}); move them with .to(device)", op.name, in[j], in[i]);
}
// Where the result of checked inputs is.
Device result_device(const Tensor* in, int n) {
  for (int i = 0; i < n; ++i)
    if (!in[i].device().is_cpu()) return in[i].device();
  return Device();
}

void run(const PointwiseInfo& op, const Loops& loops, DType common, const Tensor& out, const Tensor* in, int n,
         const Scalar* params) {
  if (op.divides && n == 2 && !is_floating(common)) {
    NoGrad guard;
    detail::require(in[1].ne(0), "{}: integer division by zero", op.name);
  }
  bool truth = op.dtypes == Dtypes::logical && loops.writes_bool;
  DType compute = truth ? DType::i64 : compute_dtype(common);
  if (out.device().is_cuda()) [[unlikely]]
    return detail::run_on_device({op, loops, compute, truth, out, in, n, params}, out.device());
  if (detail::Deferral* deferral = detail::thread_state.deferral) [[unlikely]]
    return deferral->put_off({op, loops, compute, truth, out, in, n, params});
  cpu::run_pointwise(loops, compute, truth, out, in, n, params);
}

// Layout of the result: that of the first input of the result's shape when it is dense, else row-major.
Dims result_strides(const Dims& sizes, const Tensor* in, int n) {
  for (int i = 0; i < n; ++i)
    if (in[i].sizes() == sizes) {
      if (in[i].impl()->contiguous) break;
      if (detail::is_dense(sizes, in[i].strides())) return in[i].strides();
    }
  return contiguous_strides(sizes);
}

Tensor compute(const PointwiseInfo& op, const Loops& loops, DType common, DType result, const Tensor* in, int n,
               const Scalar* params) {
  const Tensor& first = in[0];
  Dims sizes = first.sizes();
  bool same = first.impl()->contiguous;
  for (int i = 1; i < n; ++i) {
    if (in[i].sizes() == sizes)
      same &= in[i].impl()->contiguous;
    else if (in[i].dim() != 0)
      sizes = broadcast_shapes(sizes, in[i].sizes(), op.name);
  }
  const Device device = result_device(in, n);
  Tensor out = same && sizes == first.sizes() ? detail::allocate(sizes, first.strides(), result, device)
                                              : detail::allocate(sizes, result_strides(sizes, in, n), result, device);
  run(op, loops, common, out, in, n, params);
  return out;
}

Tensor pointwise_op(const PointwiseInfo& op, const Tensor* in, const Scalar* params) {
  check_devices(op, in);
  DType common = common_dtype(op, in);
  Tensor out = compute(op, op.forward, common, writes_bool(op) ? DType::bool_ : common, in, op.arity, params);
  if (op.differentiable && is_floating(out.dtype()) && detail::needs_grad(in, op.arity))
    detail::record_pointwise(op, out, in, params, false);
  return out;
}

Tensor& pointwise_inplace(const PointwiseInfo& op, Tensor& self, const Tensor* rest, const Scalar* params) {
  detail::Borrowed<3> in;
  in.set(0, self);
  for (int i = 1; i < op.arity; ++i) in.set(i, rest[i - 1]);
  check_devices(op, in);
  WEFT_CHECK(result_device(in, op.arity) == self.device(), "{}_: self is {}, another operand is on {}", op.name, self,
             result_device(in, op.arity));
  detail::check_inplace(self, op.name);
  DType common = common_dtype(op, in);
  DType result = writes_bool(op) ? DType::bool_ : common;
  WEFT_CHECK_TYPE(category(result) <= category(self.dtype()) || writes_bool(op),
                  "{}_: the result is {} but self is {}; use the out-of-place form", op.name, result, self.dtype());
  const Dims& sizes = self.sizes();
  for (int i = 1; i < op.arity; ++i) {
    if (in[i].sizes() == sizes) continue;
    Dims both = broadcast_shapes(sizes, in[i].sizes(), op.name);
    WEFT_CHECK(both == sizes, "{}_: self {} cannot grow to {}; use the out-of-place form", op.name, self, both);
  }
  bool record = op.differentiable && is_floating(self.dtype()) && detail::needs_grad(in, op.arity);
  Tensor before;
  if (record) {
    // Gradients that read the old self need a copy of it, with its history.
    unsigned reads = 0;
    for (int i = 0; i < op.arity; ++i)
      if (!(op.constants >> i & 1) && in[i].requires_grad()) reads |= op.needs[i];
    if (reads & ops::kA) in.set(0, before = self.clone());
  }
  // An operand that overlaps self partly must be read before it is overwritten.
  detail::Borrowed<3> stable;
  Tensor copies[3];
  stable.set(0, self);
  for (int i = 1; i < op.arity; ++i) stable.set(i, in[i]);
  for (int i = 1; i < op.arity; ++i)
    if (!in[i].is_same(self) && in[i].shares_storage_with(self) &&
        !(in[i].sizes() == self.sizes() && in[i].strides() == self.strides() &&
          in[i].storage_offset() == self.storage_offset())) {
      NoGrad guard;
      stable.set(i, copies[i] = in[i].clone());
    }
  run(op, op.forward, common, self, stable, op.arity, params);
  self.impl()->storage->bump(op.name);
  if (record) detail::record_pointwise(op, self, in, params, true);
  return self;
}

[[gnu::noinline, gnu::cold]] Tensor profiled(const PointwiseInfo& op, const Tensor* in, const Scalar* params) {
  using namespace detail;
  const ProfileScope scope({.kind = ProfileKind::op, .name = op.name, .in = in, .n_in = op.arity});
  return pointwise_op(op, in, params);
}
[[gnu::noinline, gnu::cold]] Tensor cast(const PointwiseInfo& op, const Tensor* in, const Scalar* params) {
  auto call = [&](const std::vector<Tensor>& values) { return pointwise(op, values.data(), params); };
  return detail::cast_call(op.record, call, std::vector<Tensor>(in, in + op.arity));
}
[[gnu::noinline, gnu::cold]] Tensor& profiled_inplace(const PointwiseInfo& op, Tensor& self, const Tensor* rest,
                                                      const Scalar* params) {
  using namespace detail;
  Borrowed<3> in;
  in.set(0, self);
  for (int i = 1; i < op.arity; ++i) in.set(i, rest[i - 1]);
  const ProfileScope scope({.kind = ProfileKind::inplace_op, .name = op.name, .in = in, .n_in = op.arity});
  return pointwise_inplace(op, self, rest, params);
}

}  // namespace

Tensor pointwise(const PointwiseInfo& op, const Tensor* in, const Scalar* params) {
  if (detail::casts(op.record)) [[unlikely]]
    return cast(op, in, params);
  if (detail::profiling()) [[unlikely]]
    return profiled(op, in, params);
  return pointwise_op(op, in, params);
}

Tensor& pointwise_(const PointwiseInfo& op, Tensor& self, const Tensor* rest, const Scalar* params) {
  if (detail::profiling()) [[unlikely]]
    return profiled_inplace(op, self, rest, params);
  return pointwise_inplace(op, self, rest, params);
}

Tensor& pointwise_out(const PointwiseInfo& op, Tensor& out, const Tensor* in, const Scalar* params) {
  const detail::ProfileScope scope({.kind = detail::ProfileKind::op, .name = op.name, .in = in, .n_in = op.arity});
  check_devices(op, in);
  WEFT_CHECK(!detail::needs_grad(in, op.arity) && !(is_grad_enabled() && out.requires_grad()),
             "{}: out= does not take part in autograd; use the plain form or NoGrad", op.name);
  DType common = common_dtype(op, in);
  DType result = writes_bool(op) ? DType::bool_ : common;
  WEFT_CHECK_TYPE(category(result) <= category(out.dtype()), "{}: the result is {} but out is {}", op.name, result,
                  out.dtype());
  Dims sizes = in[0].sizes();
  for (int i = 1; i < op.arity; ++i) sizes = broadcast_shapes(sizes, in[i].sizes(), op.name);
  WEFT_CHECK(result_device(in, op.arity) == out.device(), "{}: out is {}, the result is on {}", op.name, out,
             result_device(in, op.arity));
  if (out.sizes() != sizes) out.resize_(sizes);
  run(op, op.forward, common, out, in, op.arity, params);
  out.impl()->storage->bump(op.name);
  return out;
}

namespace detail {

DType result_type_of(const Tensor* in, int n, unsigned mask) {
  if (n == 1) return in[0].impl()->wrapped_number && is_floating(in[0].dtype()) ? default_dtype() : in[0].dtype();
  if (n == 2 && (mask & 3) == 3 && in[0].dtype() == in[1].dtype() && !in[0].impl()->wrapped_number &&
      !in[1].impl()->wrapped_number)
    return in[0].dtype();
  // The highest category decides; among its members tensors with dimensions outrank 0-dim tensors, those outrank
  // numbers.
  DType best[3] = {};
  bool seen[3] = {};
  for (int i = 0; i < n; ++i) {
    if (!(mask >> i & 1)) continue;
    const TensorImpl* t = in[i].impl();
    int level = t->wrapped_number ? 2 : t->sizes.empty() ? 1 : 0;
    DType d = t->wrapped_number && is_floating(t->dtype) ? default_dtype() : t->dtype;
    best[level] = seen[level] ? promote_types(best[level], d) : d;
    seen[level] = true;
  }
  bool any = false;
  DType result = DType::bool_;
  for (int level = 0; level < 3; ++level) {
    if (!seen[level]) continue;
    if (!any || category(best[level]) > category(result)) result = best[level];
    any = true;
  }
  return result;
}

Tensor pointwise_gradient(const PointwiseInfo& op, int i, const Tensor* values, const Scalar* params) {
  // Slots that the gradient does not read are filled with g: any defined tensor of the right shape will do.
  Borrowed<5> in;
  int n = op.arity + 2;
  in.set(0, values[0]);
  DType common = values[0].dtype();
  for (int k = 1; k < n; ++k) in.set(k, values[k].defined() ? values[k] : values[0]);
  return compute(op, op.backward[i], common, common, in, n, params);
}

}  // namespace detail

DType result_type(const Tensor& a, const Tensor& b) { return detail::result_type_of(detail::Borrowed(a, b), 2, 3); }

// ---- functions and methods of the rows
#define WEFT_UNARY(Record, name)                                                                           \
  Tensor name(const Tensor& x) { return pointwise(pointwise_ops::name, &x); }                              \
  Tensor& name##_out(Tensor& out, const Tensor& x) { return pointwise_out(pointwise_ops::name, out, &x); } \
  Tensor Tensor::name() const { return pointwise(pointwise_ops::name, this); }                             \
  Tensor& Tensor::name##_() { return pointwise_(pointwise_ops::name, *this, nullptr); }
#define WEFT_BINARY(Record, name)                                                                                  \
  Tensor name(const Tensor& a, const Tensor& b) { return pointwise(pointwise_ops::name, detail::Borrowed(a, b)); } \
  Tensor name(const Tensor& a, Scalar b) { return name(a, Tensor::wrap(b)); }                                      \
  Tensor name(Scalar a, const Tensor& b) { return name(Tensor::wrap(a), b); }                                      \
  Tensor& name##_out(Tensor& out, const Tensor& a, const Tensor& b) {                                              \
    return pointwise_out(pointwise_ops::name, out, detail::Borrowed(a, b));                                        \
  }                                                                                                                \
  Tensor Tensor::name(const Tensor& o) const { return weft::name(*this, o); }                                      \
  Tensor Tensor::name(Scalar o) const { return weft::name(*this, Tensor::wrap(o)); }                               \
  Tensor& Tensor::name##_(const Tensor& o) { return pointwise_(pointwise_ops::name, *this, &o); }                  \
  Tensor& Tensor::name##_(Scalar o) {                                                                              \
    Tensor w = Tensor::wrap(o);                                                                                    \
    return pointwise_(pointwise_ops::name, *this, &w);                                                             \
  }
#define WEFT_TERNARY(Record, name)                                    \
  Tensor name(const Tensor& a, const Tensor& b, const Tensor& c) {    \
    return pointwise(pointwise_ops::name, detail::Borrowed(a, b, c)); \
  }
#define WEFT_POINTWISE(Record, name)
#include "core/ops/pointwise.def"

}  // namespace weft
