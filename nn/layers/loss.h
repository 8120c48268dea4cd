#pragma once
#include "core/ops/loss_api.h"
#include "core/ops/norm.h"
#include "nn/module.h"

// The losses of torch.nn: layers around the functions of the same name, whose options they take. Tensors among the
// options (class weights) are buffers: they follow to(device) and, in PyTorch's names, state_dict().
namespace weft::nn {

namespace detail {
/// f(input, target, options).
template <class Self, class Options, Tensor (*function)(const Tensor&, const Tensor&, const Options&)>
struct Loss : Layer<Self> {
  Loss(const Options& o = {}) : options(o) {}
  Loss(Module& parent, std::string_view name, const Options& o = {}) : Layer<Self>(parent, name), options(o) {}
  Tensor forward(const Tensor& input, const Tensor& target) const { return function(input, target, options); }
  Options options;
};
/// The same where options.weight is a buffer "weight".
template <class Self, class Options, Tensor (*function)(const Tensor&, const Tensor&, const Options&)>
struct WeightedLoss : Layer<Self> {
  WeightedLoss(const Options& o = {}) : options(o), weight(*this, "weight", o.weight) { options.weight = Tensor(); }
  WeightedLoss(Module& parent, std::string_view name, const Options& o = {}) : WeightedLoss(o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& input, const Tensor& target) const {
    Options o = options;
    o.weight = weight;
    return function(input, target, o);
  }
  Options options;
  Buffer weight;
};
}  // namespace detail

/// Of logits [N, C, ...] and class indices [N, ...] or class probabilities.
struct CrossEntropyLoss : detail::WeightedLoss<CrossEntropyLoss, CrossEntropyOptions, cross_entropy> {
  using WeightedLoss::WeightedLoss;
};
/// Of log-probabilities.
struct NLLLoss : detail::WeightedLoss<NLLLoss, NllOptions, nll_loss> {
  using WeightedLoss::WeightedLoss;
};
struct MSELoss : detail::Loss<MSELoss, WeightedLossOptions, mse_loss> {
  using Loss::Loss;
};
struct L1Loss : detail::Loss<L1Loss, WeightedLossOptions, l1_loss> {
  using Loss::Loss;
};
struct SmoothL1Loss : detail::Loss<SmoothL1Loss, SmoothL1Options, smooth_l1_loss> {
  using Loss::Loss;
};
struct HuberLoss : detail::Loss<HuberLoss, HuberOptions, huber_loss> {
  using Loss::Loss;
};
struct BCELoss : detail::WeightedLoss<BCELoss, WeightedLossOptions, binary_cross_entropy> {
  using WeightedLoss::WeightedLoss;
};
struct BCEWithLogitsLoss : Layer<BCEWithLogitsLoss> {
  BCEWithLogitsLoss(const BceWithLogitsOptions& o = {})
      : reduction(o.reduction), weight(*this, "weight", o.weight), pos_weight(*this, "pos_weight", o.pos_weight) {}
  BCEWithLogitsLoss(Module& parent, std::string_view name, const BceWithLogitsOptions& o = {}) : BCEWithLogitsLoss(o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& input, const Tensor& target) const {
    return binary_cross_entropy_with_logits(input, target,
                                            {.weight = weight, .reduction = reduction, .pos_weight = pos_weight});
  }
  Reduction reduction;
  Buffer weight, pos_weight;
};
struct KLDivLoss : detail::Loss<KLDivLoss, KlDivOptions, kl_div> {
  using Loss::Loss;
};
struct SoftMarginLoss : detail::Loss<SoftMarginLoss, LossOptions, soft_margin_loss> {
  using Loss::Loss;
};
struct HingeEmbeddingLoss : detail::Loss<HingeEmbeddingLoss, MarginLossOptions, hinge_embedding_loss> {
  using Loss::Loss;
};
struct MultiMarginLoss : detail::WeightedLoss<MultiMarginLoss, MultiMarginOptions, multi_margin_loss> {
  using WeightedLoss::WeightedLoss;
};
struct MultiLabelMarginLoss : detail::Loss<MultiLabelMarginLoss, LossOptions, multilabel_margin_loss> {
  using Loss::Loss;
};
struct MultiLabelSoftMarginLoss
    : detail::WeightedLoss<MultiLabelSoftMarginLoss, WeightedLossOptions, multilabel_soft_margin_loss> {
  using WeightedLoss::WeightedLoss;
};
struct PoissonNLLLoss : detail::Loss<PoissonNLLLoss, PoissonNllOptions, poisson_nll_loss> {
  using Loss::Loss;
};

/// (input, target, var).
struct GaussianNLLLoss : Layer<GaussianNLLLoss> {
  GaussianNLLLoss(const GaussianNllOptions& o = {}) : options(o) {}
  GaussianNLLLoss(Module& parent, std::string_view name, const GaussianNllOptions& o = {})
      : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& input, const Tensor& target, const Tensor& var) const {
    return gaussian_nll_loss(input, target, var, options);
  }
  GaussianNllOptions options;
};
/// (x1, x2, target).
struct MarginRankingLoss : Layer<MarginRankingLoss> {
  MarginRankingLoss(const MarginLossOptions& o = {.margin = 0}) : options(o) {}
  MarginRankingLoss(Module& parent, std::string_view name, const MarginLossOptions& o = {.margin = 0})
      : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& x1, const Tensor& x2, const Tensor& target) const {
    return margin_ranking_loss(x1, x2, target, options);
  }
  MarginLossOptions options;
};
/// (x1, x2, target).
struct CosineEmbeddingLoss : Layer<CosineEmbeddingLoss> {
  CosineEmbeddingLoss(const MarginLossOptions& o = {.margin = 0}) : options(o) {}
  CosineEmbeddingLoss(Module& parent, std::string_view name, const MarginLossOptions& o = {.margin = 0})
      : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& x1, const Tensor& x2, const Tensor& target) const {
    return cosine_embedding_loss(x1, x2, target, options);
  }
  MarginLossOptions options;
};
/// (anchor, positive, negative).
struct TripletMarginLoss : Layer<TripletMarginLoss> {
  TripletMarginLoss(const TripletMarginOptions& o = {}) : options(o) {}
  TripletMarginLoss(Module& parent, std::string_view name, const TripletMarginOptions& o = {})
      : Layer(parent, name), options(o) {}
  Tensor forward(const Tensor& anchor, const Tensor& positive, const Tensor& negative) const {
    return triplet_margin_loss(anchor, positive, negative, options);
  }
  TripletMarginOptions options;
};

/// Of x1 and x2 along a dimension (torch.nn.CosineSimilarity).
struct CosineSimilarity : detail::Loss<CosineSimilarity, CosineSimilarityOptions, cosine_similarity> {
  using Loss::Loss;
};
/// Of the rows of x1 and x2 (torch.nn.PairwiseDistance).
struct PairwiseDistance : detail::Loss<PairwiseDistance, PairwiseDistanceOptions, pairwise_distance> {
  using Loss::Loss;
};

}  // namespace weft::nn
