#include "core/ops/statistics.h"

#include "core/error.h"
#include "core/ops/pointwise_api.h"

namespace weft {

const OpRecord VarOp::record{.name = "var", .save_inputs = 1, .save_outputs = 1, .cpu = cpu::var, .rule = rules::var};
const OpRecord NormOp::record{
    .name = "norm", .save_inputs = 1, .save_outputs = 1, .cpu = cpu::norm, .rule = rules::norm};
const OpRecord LogsumexpOp::record{
    .name = "logsumexp", .save_inputs = 1, .save_outputs = 1, .cpu = cpu::logsumexp, .rule = rules::logsumexp};
const OpRecord CountNonzeroOp::record{.name = "count_nonzero", .cpu = cpu::count_nonzero};

namespace {

ReduceAttrs attrs_for(const Tensor& x, const DimList& dims, bool keepdim, const char* op) {
  return {detail::reduced_dims(x, dims, op), keepdim, x.sizes(), 1.0};
}
Tensor result_for(const Tensor& x, const ReduceAttrs& a, DType dtype) {
  return detail::allocate(detail::reduced_sizes(x.sizes(), a.mask, a.keepdim), dtype, x.device());
}

std::tuple<Tensor, Tensor> spread(const Tensor& x, const VarOptions& o, bool root, const char* op) {
  ReduceAttrs a = attrs_for(x, o.dim, o.keepdim, op);
  WEFT_CHECK_TYPE(is_floating(x.dtype()), "{}: needs a floating dtype, got {}; convert with .to(DType::f32)", op,
                  x.dtype());
  const Tensor in[1] = {x};
  Tensor out[2] = {result_for(x, a, x.dtype()), result_for(x, a, x.dtype())};
  dispatch(VarOp::record, in, out, VarOp::Attrs{a, o.correction, root});
  return {out[0], out[1]};
}

}  // namespace

Tensor var(const Tensor& x, const VarOptions& o) { return std::get<0>(spread(x, o, false, "var")); }
Tensor std(const Tensor& x, const VarOptions& o) { return std::get<0>(spread(x, o, true, "std")); }
std::tuple<Tensor, Tensor> var_mean(const Tensor& x, const VarOptions& o) { return spread(x, o, false, "var_mean"); }
std::tuple<Tensor, Tensor> std_mean(const Tensor& x, const VarOptions& o) { return spread(x, o, true, "std_mean"); }

Tensor norm(const Tensor& x, double p, const ReduceOptions& o) {
  ReduceAttrs a = attrs_for(x, o.dim, o.keepdim, "norm");
  DType dtype = o.dtype.value_or(x.dtype());
  WEFT_CHECK_TYPE(is_floating(x.dtype()) && is_floating(dtype),
                  "norm: needs a floating dtype, got {}; convert with .to(DType::f32)",
                  is_floating(x.dtype()) ? dtype : x.dtype());
  WEFT_CHECK(x.numel() > 0 || (p >= 0 && p < std::numeric_limits<double>::infinity()) ||
                 detail::reduced_count(x.sizes(), a.mask) > 0,
             "norm: of no elements is not defined for p = {}", p);
  Tensor out = result_for(x, a, dtype);
  const Tensor in[1] = {x};
  dispatch(NormOp::record, in, out, NormOp::Attrs{a, p});
  return out;
}

Tensor logsumexp(const Tensor& x, const DimList& dims, bool keepdim) {
  ReduceAttrs a = attrs_for(x, dims, keepdim, "logsumexp");
  Tensor out = result_for(x, a, is_floating(x.dtype()) ? x.dtype() : default_dtype());
  const Tensor in[1] = {x};
  dispatch(LogsumexpOp::record, in, out, a);
  return out;
}

Tensor count_nonzero(const Tensor& x, const DimList& dims) {
  ReduceAttrs a = attrs_for(x, dims, false, "count_nonzero");
  Tensor out = result_for(x, a, DType::i64);
  const Tensor in[1] = {x};
  dispatch(CountNonzeroOp::record, in, out, a);
  return out;
}

Tensor nansum(const Tensor& x, const ReduceOptions& o) {
  WEFT_CHECK(x.defined(), "nansum: the input is an undefined tensor");
  return is_floating(x.dtype()) ? sum(where(x.isnan(), 0.0, x), o) : sum(x, o);
}

Tensor nanmean(const Tensor& x, const ReduceOptions& o) {
  WEFT_CHECK_TYPE(x.defined() && is_floating(x.dtype()), "nanmean: needs a floating tensor, got {}", x);
  return nansum(x, o).div(x.isnan().logical_not().sum({.dim = o.dim, .keepdim = o.keepdim}));
}

Tensor Tensor::var(const VarOptions& o) const { return weft::var(*this, o); }
Tensor Tensor::std(const VarOptions& o) const { return weft::std(*this, o); }
Tensor Tensor::norm(double p) const { return weft::norm(*this, p); }
Tensor Tensor::logsumexp(const DimList& dims, bool keepdim) const { return weft::logsumexp(*this, dims, keepdim); }
Tensor Tensor::count_nonzero(const DimList& dims) const { return weft::count_nonzero(*this, dims); }

}  // namespace weft
