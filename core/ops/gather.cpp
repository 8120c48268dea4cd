#include "core/ops/gather.h"

#include "core/error.h"

namespace weft {

const OpRecord GatherOp::record{.name = "gather", .save_inputs = 0b10, .cpu = cpu::gather, .rule = rules::gather};
const OpRecord ScatterOp::set{.name = "scatter", .save_inputs = 0b10, .cpu = cpu::scatter, .rule = rules::scatter};
const OpRecord ScatterOp::add{.name = "scatter_add", .save_inputs = 0b10, .cpu = cpu::scatter, .rule = rules::scatter};
const OpRecord ScatterOp::multiply{.name = "scatter_multiply", .cpu = cpu::scatter};

namespace {

Tensor at_least_1d(const Tensor& t) { return t.dim() == 0 ? t.unsqueeze(0) : t; }

void check_index(const Tensor& x, int dim, const Tensor& index, const char* op) {
  WEFT_CHECK_TYPE(index.dtype() == DType::i64 || index.dtype() == DType::i32, "{}: index must be i64, got {}", op,
                  index);
  WEFT_CHECK(index.dim() == x.dim(), "{}: index {} must have as many dimensions as self {}", op, index, x);
  for (int d = 0; d < x.dim(); ++d)
    WEFT_CHECK(d == dim || index.sizes()[d] <= x.sizes()[d], "{}: index {} is larger than self {} in dim {}", op, index,
               x, d);
}

Tensor& scatter_into(Tensor& self, int64_t d, const Tensor& given_index, const Tensor& given_src, ScatterMode mode) {
  const OpRecord& record = mode == ScatterMode::set   ? ScatterOp::set
                           : mode == ScatterMode::add ? ScatterOp::add
                                                      : ScatterOp::multiply;
  const char* op = record.name;
  WEFT_CHECK(given_index.defined() && given_src.defined(), "{}: undefined tensor", op);
  int dim = wrap_dim(d, self.dim(), op);
  WEFT_CHECK_TYPE(self.dtype() == given_src.dtype(),
                  "{}: self {} and src {} have different dtypes; convert src with .to(dtype)", op, self, given_src);
  if (given_index.numel() == 0) return self;
  Tensor x = at_least_1d(self), index = at_least_1d(given_index), src = at_least_1d(given_src);
  check_index(x, dim, index, op);
  WEFT_CHECK(index.dim() == src.dim(), "{}: index {} must have as many dimensions as src {}", op, given_index,
             given_src);
  for (int k = 0; k < index.dim(); ++k) {
    WEFT_CHECK(index.sizes()[k] <= src.sizes()[k], "{}: index {} is larger than src {} in dim {}", op, given_index,
               given_src, k);
    if (index.sizes()[k] < src.sizes()[k]) src = src.narrow(k, 0, index.sizes()[k]);
  }
  if (src.shares_storage_with(self)) src = src.clone();
  const Tensor in[3] = {x, index, src};
  dispatch_inplace(record, x, in, ScatterOp::Attrs{dim, mode});
  return self;
}
Tensor number_like(const Tensor& x, const Tensor& index, Scalar value) {
  return full({}, value, {.dtype = x.dtype(), .device = x.device()}).expand(index.sizes());
}

ScatterMode parse_mode(std::string_view reduce) {
  WEFT_CHECK(reduce == "add" || reduce == "multiply", "scatter: reduce must be \"add\" or \"multiply\", got \"{}\"",
             reduce);
  return reduce == "add" ? ScatterMode::add : ScatterMode::multiply;
}

}  // namespace

Tensor Tensor::gather(int64_t d, const Tensor& given) const {
  WEFT_CHECK(given.defined(), "gather: index is an undefined tensor");
  int at = wrap_dim(d, dim(), "gather");
  Tensor x = at_least_1d(*this), index = at_least_1d(given);
  if (given.numel() > 0) check_index(x, at, index, "gather");
  Tensor out = detail::allocate(index.sizes(), dtype(), device());
  const Tensor in[2] = {x, index};
  dispatch(GatherOp::record, in, out, GatherOp::Attrs{x.sizes(), at});
  return given.dim() == 0 ? out.squeeze(0) : out;
}
Tensor& Tensor::scatter_(int64_t dim, const Tensor& index, const Tensor& src) {
  return scatter_into(*this, dim, index, src, ScatterMode::set);
}
Tensor& Tensor::scatter_(int64_t dim, const Tensor& index, Scalar value) {
  return scatter_(dim, index, number_like(*this, index, value));
}
Tensor& Tensor::scatter_add_(int64_t dim, const Tensor& index, const Tensor& src) {
  return scatter_into(*this, dim, index, src, ScatterMode::add);
}
Tensor Tensor::scatter(int64_t dim, const Tensor& index, const Tensor& src) const {
  return clone().scatter_(dim, index, src);
}
Tensor Tensor::scatter(int64_t dim, const Tensor& index, Scalar value) const {
  return clone().scatter_(dim, index, value);
}
Tensor Tensor::scatter_add(int64_t dim, const Tensor& index, const Tensor& src) const {
  return clone().scatter_add_(dim, index, src);
}

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) { return x.gather(dim, index); }
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src) {
  return x.scatter(dim, index, src);
}
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, Scalar value) { return x.scatter(dim, index, value); }
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src, std::string_view reduce) {
  Tensor out = x.clone();
  return scatter_into(out, dim, index, src, parse_mode(reduce));
}
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, Scalar value, std::string_view reduce) {
  return scatter(x, dim, index, number_like(x, index, value), reduce);
}
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src) {
  return x.scatter_add(dim, index, src);
}

Tensor take_along_dim(const Tensor& x, const Tensor& index, int64_t d) {
  int dim = wrap_dim(d, x.dim(), "take_along_dim");
  WEFT_CHECK(x.dim() == index.dim(), "take_along_dim: self {} and index {} need as many dimensions", x, index);
  if (x.dim() == 0) return x.gather(0, index);
  Dims xs = x.sizes(), is = index.sizes();
  xs[dim] = is[dim] = 1;
  Dims shape = broadcast_shapes(xs, is, "take_along_dim");
  xs = is = shape;
  xs[dim] = x.sizes()[dim];
  is[dim] = index.sizes()[dim];
  return x.expand(xs).gather(dim, index.expand(is));
}

}  // namespace weft
