#include "core/ops/sort.h"

#include "core/error.h"

namespace weft {

const OpRecord SortOp::sort{
    .name = "sort", .save_outputs = 0b10, .cpu = cpu::sort, .rule = rules::sort, .non_differentiable = 0b10};
const OpRecord SortOp::topk{
    .name = "topk", .save_outputs = 0b10, .cpu = cpu::sort, .rule = rules::sort, .non_differentiable = 0b10};

namespace {
std::tuple<Tensor, Tensor> first_in_order(const OpRecord& record, const Tensor& given, int64_t d, int64_t k,
                                          bool descending) {
  const bool scalar = given.dim() == 0;
  const int dim = wrap_dim(d, given.dim(), record.name);
  Tensor x = scalar ? given.unsqueeze(0) : given;
  Dims sizes = x.sizes();
  sizes[dim] = k;
  Tensor out[2] = {detail::allocate(sizes, x.dtype(), x.device()), detail::allocate(sizes, DType::i64, x.device())};
  const Tensor in[1] = {x};
  dispatch(record, in, out, SortOp::Attrs{x.sizes(), dim, k, descending});
  if (!scalar) return {out[0], out[1]};
  // topk of a 0-dim tensor with k = 0 keeps its empty dimension away, as PyTorch does, only where one element is left.
  return k == 1 ? std::tuple{out[0].squeeze(0), out[1].squeeze(0)} : std::tuple{out[0], out[1]};
}
}  // namespace

std::tuple<Tensor, Tensor> Tensor::sort(int64_t d, bool descending, bool) const {
  return first_in_order(SortOp::sort, *this, d, dim() == 0 ? 1 : size(d), descending);
}
Tensor Tensor::argsort(int64_t dim, bool descending, bool stable) const {
  return std::get<1>(detach().sort(dim, descending, stable));
}
std::tuple<Tensor, Tensor> Tensor::topk(int64_t k, int64_t d, bool largest, bool) const {
  WEFT_CHECK_TYPE(dtype() != DType::bool_, "topk: not defined for bool; convert with .to(DType::u8)");
  int64_t n = dim() == 0 ? 1 : size(d);
  WEFT_CHECK(k >= 0 && k <= n, "topk: k = {} out of range for dim {} of {}", k, d, *this);
  return first_in_order(SortOp::topk, *this, d, k, largest);
}
std::tuple<Tensor, Tensor> sort(const Tensor& x, int64_t dim, bool descending, bool stable) {
  return x.sort(dim, descending, stable);
}
Tensor argsort(const Tensor& x, int64_t dim, bool descending, bool stable) {
  return x.argsort(dim, descending, stable);
}
std::tuple<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim, bool largest, bool sorted) {
  return x.topk(k, dim, largest, sorted);
}
std::tuple<Tensor, Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim, bool keepdim) {
  int64_t n = x.dim() == 0 ? 1 : x.size(dim);
  WEFT_CHECK(k >= 1 && k <= n, "kthvalue: k = {} out of range for dim {} of {}", k, dim, x);
  auto [values, indices] = x.topk(k, dim, false);
  if (x.dim() == 0) return {values, indices};
  return keepdim ? std::tuple{values.narrow(dim, k - 1, 1), indices.narrow(dim, k - 1, 1)}
                 : std::tuple{values.select(dim, k - 1), indices.select(dim, k - 1)};
}

}  // namespace weft
