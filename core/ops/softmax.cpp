#include "core/ops/softmax.h"

#include "core/error.h"
#include "core/pointwise.h"

namespace weft {

const OpRecord SoftmaxOp::record{.name = "softmax", .save_outputs = 1, .cpu = cpu::softmax, .rule = rules::softmax};
const OpRecord LogSoftmaxOp::record{
    .name = "log_softmax", .save_outputs = 1, .cpu = cpu::log_softmax, .rule = rules::log_softmax};
const OpRecord SoftmaxBackwardOp::record{.name = "softmax_backward", .cpu = cpu::softmax_backward};
const OpRecord LogSoftmaxBackwardOp::record{.name = "log_softmax_backward", .cpu = cpu::log_softmax_backward};

namespace {
Tensor along(const OpRecord& op, const Tensor& x, int64_t dim, std::optional<DType> dtype) {
  WEFT_CHECK(x.defined(), "{}: the input is an undefined tensor", op.name);
  const int at = wrap_dim(dim, x.dim(), op.name);
  const DType result = dtype.value_or(x.dtype());
  WEFT_CHECK_TYPE(is_floating(result), "{}: needs a floating dtype, got {}; pass a dtype, such as DType::f32", op.name,
                  result);
  Tensor out = detail::allocate(x.sizes(), result, x.device());
  const Tensor in[1] = {x};
  dispatch(op, in, out, SoftmaxAttrs{at});
  return out;
}
}  // namespace

Tensor softmax(const Tensor& x, int64_t dim, std::optional<DType> dtype) {
  return along(SoftmaxOp::record, x, dim, dtype);
}
Tensor log_softmax(const Tensor& x, int64_t dim, std::optional<DType> dtype) {
  return along(LogSoftmaxOp::record, x, dim, dtype);
}
Tensor softmin(const Tensor& x, int64_t dim, std::optional<DType> dtype) { return softmax(neg(x), dim, dtype); }

Tensor Tensor::softmax(int64_t dim, std::optional<DType> dtype) const { return weft::softmax(*this, dim, dtype); }
Tensor Tensor::log_softmax(int64_t dim, std::optional<DType> dtype) const {
  return weft::log_softmax(*this, dim, dtype);
}

}  // namespace weft
