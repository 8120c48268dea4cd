#include "core/ops/extreme.h"

#include "core/error.h"
#include "core/pointwise.h"

namespace weft {

const OpRecord MaxDimOp::record{
    .name = "max", .save_outputs = 2, .cpu = cpu::max_index, .rule = rules::selected, .non_differentiable = 2};
const OpRecord MinDimOp::record{
    .name = "min", .save_outputs = 2, .cpu = cpu::min_index, .rule = rules::selected, .non_differentiable = 2};
const OpRecord ArgmaxOp::record{.name = "argmax", .cpu = cpu::max_index};
const OpRecord ArgminOp::record{.name = "argmin", .cpu = cpu::min_index};

namespace {

// The mask of one dimension (none: all), which must have elements.
unsigned chosen(const Tensor& x, std::optional<int64_t> dim, const char* op) {
  unsigned mask = detail::reduced_dims(x, dim ? DimList(*dim) : DimList(), op);
  WEFT_CHECK_INDEX(x.numel() > 0 || (dim && detail::reduced_count(x.sizes(), mask) > 0), "{}: nothing to reduce in {}",
                   op, x);
  return mask;
}

std::tuple<Tensor, Tensor> along(const OpRecord& op, const Tensor& x, int64_t dim, bool keepdim) {
  unsigned mask = chosen(x, dim, op.name);
  Dims sizes = detail::reduced_sizes(x.sizes(), mask, keepdim);
  const Tensor in[1] = {x};
  Tensor out[2] = {detail::allocate(sizes, x.dtype(), x.device()), detail::allocate(sizes, DType::i64, x.device())};
  dispatch(op, in, out, ReduceAttrs{mask, keepdim, x.sizes(), 1.0});
  return {out[0], out[1]};
}

Tensor place(const OpRecord& op, const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  unsigned mask = chosen(x, dim, op.name);
  Tensor out = detail::allocate(detail::reduced_sizes(x.sizes(), mask, keepdim), DType::i64, x.device());
  const Tensor in[1] = {x};
  dispatch(op, in, out, ReduceAttrs{mask, keepdim, x.sizes(), 1.0});
  return out;
}

}  // namespace

Tensor max(const Tensor& x) { return detail::reduce_extreme(true, x); }
Tensor min(const Tensor& x) { return detail::reduce_extreme(false, x); }
std::tuple<Tensor, Tensor> max(const Tensor& x, int64_t dim, bool keepdim) {
  return along(MaxDimOp::record, x, dim, keepdim);
}
std::tuple<Tensor, Tensor> min(const Tensor& x, int64_t dim, bool keepdim) {
  return along(MinDimOp::record, x, dim, keepdim);
}
Tensor max(const Tensor& a, const Tensor& b) { return maximum(a, b); }
Tensor min(const Tensor& a, const Tensor& b) { return minimum(a, b); }
Tensor argmax(const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  return place(ArgmaxOp::record, x, dim, keepdim);
}
Tensor argmin(const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  return place(ArgminOp::record, x, dim, keepdim);
}
std::tuple<Tensor, Tensor> aminmax(const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  chosen(x, dim, "aminmax");
  ReduceOptions o{.dim = dim ? DimList(*dim) : DimList(), .keepdim = keepdim};
  return {amin(x, o), amax(x, o)};
}

Tensor Tensor::max() const { return weft::max(*this); }
Tensor Tensor::min() const { return weft::min(*this); }
std::tuple<Tensor, Tensor> Tensor::max(int64_t dim, bool keepdim) const { return weft::max(*this, dim, keepdim); }
std::tuple<Tensor, Tensor> Tensor::min(int64_t dim, bool keepdim) const { return weft::min(*this, dim, keepdim); }
Tensor Tensor::argmax(std::optional<int64_t> dim, bool keepdim) const { return weft::argmax(*this, dim, keepdim); }
Tensor Tensor::argmin(std::optional<int64_t> dim, bool keepdim) const { return weft::argmin(*this, dim, keepdim); }

}  // namespace weft
