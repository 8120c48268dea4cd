#pragma once
#include <functional>
#include <string_view>

#include "core/dispatch.h"

// Losses of torch.nn.functional. `reduction`: "none", "mean" or "sum" (kl_div also "batchmean").
namespace weft {

/// How the losses of the elements are put together; from its PyTorch name. Error: any other name.
class Reduction {
 public:
  enum Kind : uint8_t { none, mean, sum, batchmean };
  constexpr Reduction(Kind kind) : kind_(kind) {}
  Reduction(std::string_view name);
  Reduction(const char* name) : Reduction(std::string_view(name)) {}
  Reduction(const std::string& name) : Reduction(std::string_view(name)) {}
  constexpr operator Kind() const { return kind_; }

 private:
  Kind kind_;
};

struct LossOptions {
  Reduction reduction = Reduction::mean;
};
struct WeightedLossOptions {
  Tensor weight = {};  ///< broadcast over the losses
  Reduction reduction = Reduction::mean;
};

/// (input - target)^2 and |input - target|; shapes broadcast.
Tensor mse_loss(const Tensor& input, const Tensor& target, const WeightedLossOptions& o = {});
Tensor l1_loss(const Tensor& input, const Tensor& target, const WeightedLossOptions& o = {});
struct SmoothL1Options {
  Reduction reduction = Reduction::mean;
  double beta = 1;
};
/// Quadratic below beta, linear above. Error: negative beta.
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, const SmoothL1Options& o = {});
struct HuberOptions {
  Reduction reduction = Reduction::mean;
  double delta = 1;
  Tensor weight = {};
};
/// beta times smooth_l1_loss. Error: delta <= 0.
Tensor huber_loss(const Tensor& input, const Tensor& target, const HuberOptions& o = {});

/// Of probabilities in [0, 1]; of log-odds. Same shapes; weight broadcasts.
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const WeightedLossOptions& o = {});
struct BceWithLogitsOptions {
  Tensor weight = {};
  Reduction reduction = Reduction::mean;
  Tensor pos_weight = {};  ///< of positive examples; broadcasts
};
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const BceWithLogitsOptions& o = {});
struct KlDivOptions {
  Reduction reduction = Reduction::mean;
  bool log_target = false;
};
/// target (log target - input); input holds log-probabilities.
Tensor kl_div(const Tensor& input, const Tensor& target, const KlDivOptions& o = {});

struct NllOptions {
  Tensor weight = {};  ///< one value per class
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;  ///< mean: divided by the weights of the targets that are not ignored
};
/// -input[target] of log-probabilities [N, C, ...] or [C]; target holds class indices [N, ...] or []. Errors: shapes,
/// index out of range.
Tensor nll_loss(const Tensor& input, const Tensor& target, const NllOptions& o = {});
struct CrossEntropyOptions {
  Tensor weight = {};
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0;
};
/// nll_loss(log_softmax(input)); target: class indices as above, or class probabilities of the shape of input.
Tensor cross_entropy(const Tensor& input, const Tensor& target, const CrossEntropyOptions& o = {});

Tensor soft_margin_loss(const Tensor& input, const Tensor& target, const LossOptions& o = {});
struct MarginLossOptions {
  double margin = 1;
  Reduction reduction = Reduction::mean;
};
/// x where target is 1, max(0, margin - x) where it is -1.
Tensor hinge_embedding_loss(const Tensor& input, const Tensor& target, const MarginLossOptions& o = {});
/// max(0, -target (x1 - x2) + margin); PyTorch's default margin here is 0.
Tensor margin_ranking_loss(const Tensor& x1, const Tensor& x2, const Tensor& target,
                           const MarginLossOptions& o = {.margin = 0});
/// 1 - cos where target is 1, max(0, cos - margin) where it is -1; over the last dimension. Default margin 0.
Tensor cosine_embedding_loss(const Tensor& x1, const Tensor& x2, const Tensor& target,
                             const MarginLossOptions& o = {.margin = 0});
struct TripletMarginOptions {
  double margin = 1;
  double p = 2;
  double eps = 1e-6;
  bool swap = false;
  Reduction reduction = Reduction::mean;
};
/// max(0, d(anchor, positive) - d(anchor, negative) + margin), d = pairwise_distance.
Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           const TripletMarginOptions& o = {});
struct TripletDistanceOptions {
  std::function<Tensor(const Tensor&, const Tensor&)> distance_function = {};  ///< default: pairwise_distance
  double margin = 1;
  bool swap = false;
  Reduction reduction = Reduction::mean;
};
/// The same with a distance of your own.
Tensor triplet_margin_with_distance_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                                         const TripletDistanceOptions& o = {});
struct MultiMarginOptions {
  int64_t p = 1;  ///< or 2
  double margin = 1;
  Tensor weight = {};
  Reduction reduction = Reduction::mean;
};
/// sum_{j != t} max(0, margin - x_t + x_j)^p / C of [N, C] or [C].
Tensor multi_margin_loss(const Tensor& input, const Tensor& target, const MultiMarginOptions& o = {});
/// sum_{t, j} max(0, 1 - x_t + x_j) / C over the targets t (before the first -1 of each row) and the others j.
Tensor multilabel_margin_loss(const Tensor& input, const Tensor& target, const LossOptions& o = {});
Tensor multilabel_soft_margin_loss(const Tensor& input, const Tensor& target, const WeightedLossOptions& o = {});
struct PoissonNllOptions {
  bool log_input = true;
  bool full = false;  ///< adds Stirling's approximation of log(target!)
  double eps = 1e-8;
  Reduction reduction = Reduction::mean;
};
Tensor poisson_nll_loss(const Tensor& input, const Tensor& target, const PoissonNllOptions& o = {});
struct GaussianNllOptions {
  bool full = false;
  double eps = 1e-6;
  Reduction reduction = Reduction::mean;
};
/// (log var + (input - target)^2 / var) / 2; var: of input's shape, or without its last dimension, or with 1 in its
/// place.
Tensor gaussian_nll_loss(const Tensor& input, const Tensor& target, const Tensor& var,
                         const GaussianNllOptions& o = {});

namespace detail {
/// The losses of the elements put together.
Tensor reduce_loss(const Tensor& losses, Reduction reduction);
}  // namespace detail

}  // namespace weft
