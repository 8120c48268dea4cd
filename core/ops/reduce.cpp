#include "core/ops/reduce.h"

#include "core/autocast.h"
#include "core/error.h"

namespace weft {

const OpRecord SumOp::record{.name = "sum", .cpu = cpu::reduce_sum, .rule = rules::sum};
const OpRecord MeanOp::record{.name = "mean", .cpu = cpu::reduce_sum, .rule = rules::sum};
const OpRecord ProdOp::record{.name = "prod",
                              .save_inputs = 1,
                              .save_outputs = 1,
                              .cpu = cpu::reduce_prod,
                              .rule = rules::prod,
                              .cast = Cast::f32};
const OpRecord AmaxOp::record{
    .name = "amax", .save_inputs = 1, .save_outputs = 1, .cpu = cpu::reduce_max, .rule = rules::extreme};
const OpRecord AminOp::record{
    .name = "amin", .save_inputs = 1, .save_outputs = 1, .cpu = cpu::reduce_min, .rule = rules::extreme};
const OpRecord MaxOp::record{
    .name = "max", .save_inputs = 1, .save_outputs = 1, .cpu = cpu::reduce_max, .rule = rules::extreme};
const OpRecord MinOp::record{
    .name = "min", .save_inputs = 1, .save_outputs = 1, .cpu = cpu::reduce_min, .rule = rules::extreme};
const OpRecord AnyOp::record{.name = "any", .cpu = cpu::reduce_any};
const OpRecord AllOp::record{.name = "all", .cpu = cpu::reduce_all};

namespace detail {

unsigned reduced_dims(const Tensor& x, const DimList& dims, const char* op) {
  WEFT_CHECK(x.defined(), "{}: the input is an undefined tensor", op);
  if (dims.all || dims.dims.empty()) return (1u << x.dim()) - 1;
  unsigned mask = 0;
  for (int64_t given : dims.dims) {
    unsigned bit = 1u << wrap_dim(given, x.dim(), op);
    WEFT_CHECK(!(mask & bit), "{}: dim {} appears twice in {}", op, given, dims.dims);
    mask |= bit;
  }
  return x.dim() == 0 ? 0 : mask;
}

Dims reduced_sizes(const Dims& sizes, unsigned mask, bool keepdim) {
  Dims out;
  for (int d = 0; d < sizes.size(); ++d) {
    if (!(mask >> d & 1))
      out.push_back(sizes[d]);
    else if (keepdim)
      out.push_back(1);
  }
  return out;
}

int64_t reduced_count(const Dims& sizes, unsigned mask) {
  int64_t n = 1;
  for (int d = 0; d < sizes.size(); ++d)
    if (mask >> d & 1) n *= sizes[d];
  return n;
}

Tensor restore_dims(const Tensor& reduced, const Dims& sizes, unsigned mask, bool keepdim) {
  return keepdim || mask == 0 ? reduced : reduced.reshape(reduced_sizes(sizes, mask, true));
}

}  // namespace detail

namespace {

Tensor reduce(const OpRecord& op, const Tensor& x, const ReduceOptions& o, DType result) {
  unsigned mask = detail::reduced_dims(x, o.dim, op.name);
  double divisor = &op == &MeanOp::record ? static_cast<double>(detail::reduced_count(x.sizes(), mask)) : 1.0;
  Tensor out = detail::allocate(detail::reduced_sizes(x.sizes(), mask, o.keepdim), result, x.device());
  const Tensor in[1] = {x};
  dispatch(op, in, out, ReduceAttrs{mask, o.keepdim, x.sizes(), divisor});
  return out;
}

Tensor extreme(const OpRecord& op, const Tensor& x, const ReduceOptions& o) {
  WEFT_CHECK(!o.dtype, "{}: takes no dtype; convert with .to()", op.name);
  unsigned mask = detail::reduced_dims(x, o.dim, op.name);
  if (x.numel() == 0) {
    WEFT_CHECK(!o.dim.all && !o.dim.dims.empty(), "{}: {} has no elements; name dimensions that have some", op.name, x);
    for (int d = 0; d < x.dim(); ++d)
      WEFT_CHECK_INDEX(!(mask >> d & 1) || x.sizes()[d] != 0, "{}: dim {} of {} has no elements", op.name, d, x);
  }
  return reduce(op, x, o, x.dtype());
}

DType truth_dtype(const Tensor& x, const ReduceOptions& o, const char* op) {
  WEFT_CHECK(!o.dtype, "{}: takes no dtype; convert with .to()", op);
  return x.defined() && x.dtype() == DType::u8 ? DType::u8 : DType::bool_;
}

}  // namespace

Tensor sum(const Tensor& x, const ReduceOptions& o) {
  WEFT_CHECK(x.defined(), "sum: the input is an undefined tensor");
  return reduce(SumOp::record, x, o, o.dtype.value_or(is_floating(x.dtype()) ? x.dtype() : DType::i64));
}
Tensor prod(const Tensor& x, const ReduceOptions& o) {
  if (detail::casts(ProdOp::record)) [[unlikely]]
    return detail::cast_call(ProdOp::record, prod, x, o);
  WEFT_CHECK(x.defined(), "prod: the input is an undefined tensor");
  return reduce(ProdOp::record, x, o, o.dtype.value_or(is_floating(x.dtype()) ? x.dtype() : DType::i64));
}
Tensor mean(const Tensor& x, const ReduceOptions& o) {
  WEFT_CHECK(x.defined(), "mean: the input is an undefined tensor");
  DType t = o.dtype.value_or(x.dtype());
  WEFT_CHECK_TYPE(is_floating(t), "mean: needs a floating dtype, got {}; pass .dtype = DType::f32", t);
  return reduce(MeanOp::record, x, o, t);
}
Tensor amax(const Tensor& x, const ReduceOptions& o) { return extreme(AmaxOp::record, x, o); }
Tensor amin(const Tensor& x, const ReduceOptions& o) { return extreme(AminOp::record, x, o); }
Tensor detail::reduce_extreme(bool largest, const Tensor& x) {
  return extreme(largest ? MaxOp::record : MinOp::record, x, {});
}
Tensor any(const Tensor& x, const ReduceOptions& o) { return reduce(AnyOp::record, x, o, truth_dtype(x, o, "any")); }
Tensor all(const Tensor& x, const ReduceOptions& o) { return reduce(AllOp::record, x, o, truth_dtype(x, o, "all")); }

Tensor Tensor::sum(const ReduceOptions& o) const { return weft::sum(*this, o); }
Tensor Tensor::mean(const ReduceOptions& o) const { return weft::mean(*this, o); }
Tensor Tensor::prod(const ReduceOptions& o) const { return weft::prod(*this, o); }
Tensor Tensor::amax(const ReduceOptions& o) const { return weft::amax(*this, o); }
Tensor Tensor::amin(const ReduceOptions& o) const { return weft::amin(*this, o); }
Tensor Tensor::any(const ReduceOptions& o) const { return weft::any(*this, o); }
Tensor Tensor::all(const ReduceOptions& o) const { return weft::all(*this, o); }

Tensor Tensor::sum_to_size(const Dims& sizes) const {
  const int lead = dim() - sizes.size();
  WEFT_CHECK(lead >= 0, "sum_to_size: {} has fewer dimensions than {}", *this, sizes);
  DimList dims;
  dims.all = false;
  for (int d = 0; d < dim(); ++d) {
    if (d >= lead) {
      int64_t want = sizes[d - lead];
      if (want == this->sizes()[d]) continue;
      WEFT_CHECK(want == 1, "sum_to_size: {} is no broadcast of {}", *this, sizes);
    }
    dims.dims.push_back(d);
  }
  if (dims.dims.empty()) return *this;
  Tensor out = weft::sum(*this, {.dim = dims, .keepdim = true, .dtype = dtype()});
  return lead > 0 ? out.view(sizes) : out;
}

}  // namespace weft
