#include "core/ops/norm.h"

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/ops/shape.h"
#include "core/ops/statistics.h"

namespace weft {

const OpRecord NormalizeRowsOp::record{.name = "normalize_rows",
                                       .save_inputs = 3,
                                       .save_outputs = 6,
                                       .cpu = cpu::normalize_rows,
                                       .rule = rules::normalize_rows,
                                       .non_differentiable = 6};
const OpRecord NormalizeRowsBackwardOp::record{.name = "normalize_rows_backward", .cpu = cpu::normalize_rows_backward};

namespace {

Tensor normalize_rows(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormAttrs& a) {
  const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor in[3] = {x, weight, bias};
  Tensor out[3] = {detail::allocate(x.sizes(), x.dtype(), x.device()), detail::allocate({a.rows}, wide, x.device()),
                   detail::allocate({a.rows}, wide, x.device())};
  dispatch(NormalizeRowsOp::record, in, out, a);
  return out[0];
}

void check_floating(const Tensor& x, const char* op) {
  WEFT_CHECK_TYPE(x.defined() && is_floating(x.dtype()), "{}: the input must be a floating tensor, got {}", op, x);
}
void check_parameter(const Tensor& t, const Dims& shape, const char* what, const char* op) {
  WEFT_CHECK(!t.defined() || t.sizes() == shape, "{}: {} has shape {}, expected {}", op, what, t.sizes(), shape);
}
// rows and n of x whose last dimensions must be `shape`.
NormAttrs trailing(const Tensor& x, const Dims& shape, double eps, bool centred, const char* op) {
  check_floating(x, op);
  WEFT_CHECK(!shape.empty(), "{}: the normalized shape needs at least one dimension", op);
  const int lead = x.dim() - shape.size();
  WEFT_CHECK(lead >= 0, "{}: {} does not end in {}", op, x, shape);
  NormAttrs a{1, 1, 1, 1, eps, centred, shape};
  for (int d = 0; d < x.dim(); ++d) {
    WEFT_CHECK(d < lead || x.sizes()[d] == shape[d - lead], "{}: {} does not end in {}", op, x, shape);
    (d < lead ? a.rows : a.n) *= x.sizes()[d];
  }
  return a;
}
double epsilon(DType t) {
  switch (t) {
    case DType::f64:
      return 0x1p-52;
    case DType::bf16:
      return 0x1p-7;
    case DType::f16:
      return 0x1p-10;
    default:
      return 0x1p-23;
  }
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Dims& shape, const LayerNormOptions& o) {
  NormAttrs a = trailing(x, shape, o.eps, true, "layer_norm");
  check_parameter(o.weight, shape, "weight", "layer_norm");
  check_parameter(o.bias, shape, "bias", "layer_norm");
  return normalize_rows(x, o.weight, o.bias, a);
}

Tensor rms_norm(const Tensor& x, const Dims& shape, const RmsNormOptions& o) {
  check_floating(x, "rms_norm");
  NormAttrs a = trailing(x, shape, o.eps.value_or(epsilon(x.dtype())), false, "rms_norm");
  check_parameter(o.weight, shape, "weight", "rms_norm");
  return normalize_rows(x, o.weight, Tensor(), a);
}

Tensor group_norm(const Tensor& x, int64_t groups, const GroupNormOptions& o) {
  check_floating(x, "group_norm");
  WEFT_CHECK(x.dim() >= 2, "group_norm: needs at least 2 dimensions, got {}", x);
  WEFT_CHECK(groups > 0 && x.sizes()[1] % groups == 0, "group_norm: the {} channels of {} do not split into {} groups",
             x.sizes()[1], x, groups);
  check_parameter(o.weight, {x.sizes()[1]}, "weight", "group_norm");
  check_parameter(o.bias, {x.sizes()[1]}, "bias", "group_norm");
  int64_t span = 1;
  for (int d = 2; d < x.dim(); ++d) span *= x.sizes()[d];
  return normalize_rows(
      x, o.weight, o.bias,
      {x.sizes()[0] * groups, x.sizes()[1] / groups * span, span, groups, o.eps, true, {x.sizes()[1]}});
}

Tensor local_response_norm(const Tensor& x, int64_t size, const LocalResponseNormOptions& o) {
  WEFT_CHECK(x.defined() && x.dim() >= 3, "local_response_norm: needs at least 3 dimensions, got {}", x);
  WEFT_CHECK(size > 0, "local_response_norm: size must be positive, got {}", size);
  std::vector<int64_t> around(static_cast<size_t>(2 * (x.dim() - 2)), 0);
  around.push_back(size / 2);
  around.push_back((size - 1) / 2);
  Tensor total = pad(x.mul(x), around).unfold(1, size, 1).sum({.dim = -1});
  Tensor average = div(total, Tensor::wrap(size), is_floating(x.dtype()) ? Rounding::none : Rounding::trunc);
  return x.div(average.mul(o.alpha).add(o.k).pow(o.beta));
}

Tensor normalize(const Tensor& x, const NormalizeOptions& o) {
  return div(x, norm(x, o.p, {.dim = o.dim, .keepdim = true}).clamp_min(o.eps));
}

Tensor cosine_similarity(const Tensor& x1, const Tensor& x2, const CosineSimilarityOptions& o) {
  DType common = result_type(x1, x2);
  WEFT_CHECK_TYPE(is_floating(common), "cosine_similarity: needs a floating dtype, got {}", common);
  Dims sizes = broadcast_shapes(x1.sizes(), x2.sizes(), "cosine_similarity");
  Tensor a = x1.to(common).expand(sizes), b = x2.to(common).expand(sizes);
  ReduceOptions along{.dim = o.dim, .keepdim = true};
  Tensor unit_a = a.div(norm(a, 2, along).clamp_min(o.eps)), unit_b = b.div(norm(b, 2, along).clamp_min(o.eps));
  return unit_a.mul(unit_b).sum({.dim = o.dim});
}

Tensor pairwise_distance(const Tensor& x1, const Tensor& x2, const PairwiseDistanceOptions& o) {
  return norm(x1.sub(x2).add(o.eps), o.p, {.dim = -1, .keepdim = o.keepdim});
}

}  // namespace weft
