#include "core/ops/distance.h"

#include <cmath>

#include "core/autocast.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/statistics.h"

namespace weft {

Tensor linalg::vector_norm(const Tensor& x, double ord, const VectorNormOptions& o) {
  return norm(x, ord, {.dim = o.dim, .keepdim = o.keepdim, .dtype = o.dtype});
}

Tensor linalg::matrix_norm(const Tensor& given, MatrixOrd ord, const MatrixNormOptions& o) {
  constexpr const char* op = "matrix_norm";
  WEFT_CHECK(given.defined() && given.dim() >= 2, "matrix_norm: needs at least 2 dimensions, got {}", given);
  const int rows = wrap_dim(o.rows, given.dim(), op), columns = wrap_dim(o.columns, given.dim(), op);
  WEFT_CHECK(rows != columns, "matrix_norm: rows and columns are both dim {}", rows);
  Tensor x = o.dtype ? given.to(*o.dtype) : given;
  if (ord.frobenius) return norm(x, 2, {.dim = {rows, columns}, .keepdim = o.keepdim});
  const double size = std::abs(ord.value);
  WEFT_CHECK(size == 1 || std::isinf(size),
             "matrix_norm: ord {} is not offered; use the Frobenius norm, 1, -1, inf or -inf", ord.value);
  WEFT_CHECK_TYPE(is_floating(x.dtype()), "matrix_norm: needs a floating dtype, got {}", x.dtype());
  const int added = size == 1 ? rows : columns, compared = size == 1 ? columns : rows;
  Tensor sums = x.abs().sum({.dim = added, .keepdim = true});
  Tensor best =
      ord.value > 0 ? sums.amax({.dim = compared, .keepdim = true}) : sums.amin({.dim = compared, .keepdim = true});
  return o.keepdim ? best : best.squeeze({rows, columns});
}

Tensor dist(const Tensor& a, const Tensor& b, double p) { return norm(a.sub(b), p); }

Tensor cdist(const Tensor& x1, const Tensor& x2, double p) {
  static const OpRecord made_of_others{.name = "cdist", .cast = Cast::f32};
  if (detail::casts(made_of_others)) [[unlikely]]
    return detail::cast_call(made_of_others, cdist, x1, x2, p);
  WEFT_CHECK(x1.defined() && x2.defined() && x1.dim() >= 2 && x2.dim() >= 2,
             "cdist: needs [..., P, M] and [..., R, M], got {} and {}", x1, x2);
  WEFT_CHECK(x1.sizes().back() == x2.sizes().back(), "cdist: rows of {} and {} differ in length", x1, x2);
  WEFT_CHECK(p >= 0, "cdist: p must not be negative, got {}", p);
  return norm(x1.unsqueeze(-2).sub(x2.unsqueeze(-3)), p, {.dim = -1});
}

}  // namespace weft
