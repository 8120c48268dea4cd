#pragma once
#include "core/dispatch.h"

// Normalisation over trailing dimensions or groups of channels (torch.nn.functional), and by vector norms.
// Sums run in f32 (f64 for f64); halves round once.
namespace weft {

struct LayerNormOptions {
  Tensor weight = {}, bias = {};  ///< of shape `shape`, or undefined
  double eps = 1e-5;
};
/// (x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions, whose sizes are `shape`.
Tensor layer_norm(const Tensor& x, const Dims& shape, const LayerNormOptions& o = {});

struct GroupNormOptions {
  Tensor weight = {}, bias = {};  ///< one value per channel, or undefined
  double eps = 1e-5;
};
/// The same over each of `groups` groups of neighbouring channels (dim 1) and everything behind them; weight, bias per
/// channel.
Tensor group_norm(const Tensor& x, int64_t groups, const GroupNormOptions& o = {});

struct RmsNormOptions {
  Tensor weight = {};
  std::optional<double> eps = {};  ///< default: the machine epsilon of the dtype
};
/// x / sqrt(mean(x^2) + eps) * weight over the last dimensions, whose sizes are `shape`.
Tensor rms_norm(const Tensor& x, const Dims& shape, const RmsNormOptions& o = {});

struct LocalResponseNormOptions {
  double alpha = 1e-4;
  double beta = 0.75;
  double k = 1;
};
/// x / (k + alpha mean(x^2 of `size` neighbouring channels))^beta; channels are dim 1, beyond the edge they count as 0.
Tensor local_response_norm(const Tensor& x, int64_t size, const LocalResponseNormOptions& o = {});

struct NormalizeOptions {
  double p = 2;
  DimList dim = 1;
  double eps = 1e-12;
};
/// x / max(norm(x, p, dim), eps).
Tensor normalize(const Tensor& x, const NormalizeOptions& o = {});
struct CosineSimilarityOptions {
  int64_t dim = 1;
  double eps = 1e-8;
};
/// x1 . x2 / (max(|x1|, eps) max(|x2|, eps)); shapes broadcast.
Tensor cosine_similarity(const Tensor& x1, const Tensor& x2, const CosineSimilarityOptions& o = {});
struct PairwiseDistanceOptions {
  double p = 2;
  double eps = 1e-6;
  bool keepdim = false;
};
/// norm(x1 - x2 + eps, p) over the last dimension.
Tensor pairwise_distance(const Tensor& x1, const Tensor& x2, const PairwiseDistanceOptions& o = {});

// ---- records
/// x is [rows, n]. A row uses n / span values of weight and bias, each for `span` neighbours; they start anew every
/// `cycle` rows: element i of row r takes value (r % cycle) * (n / span) + i / span.
struct NormAttrs {
  int64_t rows, n, span, cycle;
  double eps;
  bool centred;          ///< false: no mean is subtracted (rms_norm)
  Dims parameter_sizes;  ///< of weight and bias

  /// Values of weight and bias that a row uses, which may have no elements.
  int64_t per_row() const {
    if (span > 0) return n / span;
    int64_t values = 1;
    for (int64_t s : parameter_sizes) values *= s;
    return values / cycle;
  }
  /// Gradients of weight and bias sum rows in chunks whose number depends on the shape alone, then the chunks in order.
  int64_t chunk_rows() const {
    const int64_t even = (rows + 31) / 32, least = cycle > 16 ? cycle : 16;
    return even > least ? even : least;
  }
  int64_t chunks() const { return rows > 0 ? (rows - 1) / chunk_rows() + 1 : 1; }
};
struct NormalizeRowsOp {  ///< inputs: x, weight, bias; outputs: y, mean, 1 / deviation
  static const OpRecord record;
};
struct NormalizeRowsBackwardOp {  ///< inputs: gradient, x, weight, mean, 1 / deviation; outputs: gradients of x,
                                  ///< weight, bias
  static const OpRecord record;
};

struct RowBlock;  // core/row_wise.h
namespace cpu {
void normalize_rows(const OpCall& c);
void normalize_rows_backward(const OpCall& c);
void normalize_rows_backward_block(const OpCall& c, const RowBlock& b);
void normalize_rows_backward_finish(const OpCall& c, void* partial);
}  // namespace cpu
namespace rules {
void normalize_rows(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
