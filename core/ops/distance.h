#pragma once
#include <limits>

#include "core/ops/reduce.h"

// Norms of vectors and matrices under their torch.linalg names, and distances. Floats only; all differentiable.
namespace weft {

namespace linalg {
struct VectorNormOptions {
  DimList dim = {};
  bool keepdim = false;
  std::optional<DType> dtype = {};
};
/// norm() with any order: (sum |x|^ord)^(1 / ord).
Tensor vector_norm(const Tensor& x, double ord = 2, const VectorNormOptions& o = {});

/// Which norm of a matrix: frobenius, or a number: 1, -1 (largest, smallest column sum of |x|), inf, -inf (row sums).
struct MatrixOrd {
  bool frobenius = true;
  double value = 0;
  MatrixOrd() = default;
  MatrixOrd(double v) : frobenius(false), value(v) {}
};
struct MatrixNormOptions {
  int64_t rows = -2, columns = -1;  ///< the dimensions of the matrices
  bool keepdim = false;
  std::optional<DType> dtype = {};
};
Tensor matrix_norm(const Tensor& x, MatrixOrd ord = {}, const MatrixNormOptions& o = {});
}  // namespace linalg

/// norm(a - b, p) of all elements; shapes broadcast.
Tensor dist(const Tensor& a, const Tensor& b, double p = 2);
/// Distances between all rows: [..., P, M] and [..., R, M] give [..., P, R].
Tensor cdist(const Tensor& x1, const Tensor& x2, double p = 2);

}  // namespace weft
