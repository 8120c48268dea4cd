#pragma once
#include "core/ops/embedding.h"
#include "nn/module.h"

namespace weft::nn {

struct EmbeddingLayerOptions {
  std::optional<int64_t> padding_idx = {};  ///< this row starts as zeros and gets no gradient; negative: from the end
  std::optional<double> max_norm = {};      ///< looked-up rows are scaled in place to at most this norm
  double norm_type = 2;
  bool scale_grad_by_freq = false;  ///< gradients of a row are divided by how often it was looked up
};
/// Rows of weight [num_embeddings, embedding_dim] by index (torch.nn.Embedding); standard normal at first.
struct Embedding : Layer<Embedding> {
  Embedding(int64_t num_embeddings, int64_t embedding_dim, const EmbeddingLayerOptions& o = {});
  Embedding(Module& parent, std::string_view name, int64_t num_embeddings, int64_t embedding_dim,
            const EmbeddingLayerOptions& o = {})
      : Embedding(num_embeddings, embedding_dim, o) {
    parent.register_module(name, *this);
  }
  /// Takes over the rows of `weight`; `freeze`: they are not trained.
  static Embedding from_pretrained(const Tensor& weight, bool freeze = true, const EmbeddingLayerOptions& o = {});
  /// indices [...] -> [..., embedding_dim].
  Tensor forward(const Tensor& indices) const;
  void reset_parameters();

  EmbeddingLayerOptions options;
  Parameter weight;

 protected:
  std::string extra_repr() const override;
};

}  // namespace weft::nn
