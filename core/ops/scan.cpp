#include "core/ops/scan.h"

#include "core/error.h"

namespace weft {

const OpRecord ScanOp::cumsum{.name = "cumsum", .cpu = cpu::scan, .rule = rules::cumsum};
const OpRecord ScanOp::cumprod{.name = "cumprod", .save_inputs = 1, .cpu = cpu::scan, .rule = rules::cumprod};

namespace {
Tensor scan(const OpRecord& record, const Tensor& given, int64_t d, std::optional<DType> dtype, bool product) {
  const int dim = wrap_dim(d, given.dim(), record.name);
  DType t = dtype.value_or(is_floating(given.dtype()) ? given.dtype() : DType::i64);
  WEFT_CHECK_TYPE(t != DType::bool_, "{}: a running result cannot be bool", record.name);
  Tensor x = given.to(t);
  x = x.dim() == 0 ? x.reshape({1}) : x.contiguous();
  Tensor out = detail::allocate(x.sizes(), t, x.device());
  const Tensor in[1] = {x};
  dispatch(record, in, out, ScanOp::Attrs{dim, product});
  return given.dim() == 0 ? out.squeeze(0) : out;
}
}  // namespace

Tensor Tensor::cumsum(int64_t dim, std::optional<DType> dtype) const {
  return scan(ScanOp::cumsum, *this, dim, dtype, false);
}
Tensor cumsum(const Tensor& x, int64_t dim, std::optional<DType> dtype) { return x.cumsum(dim, dtype); }
Tensor cumprod(const Tensor& x, int64_t dim, std::optional<DType> dtype) {
  return scan(ScanOp::cumprod, x, dim, dtype, true);
}

}  // namespace weft
