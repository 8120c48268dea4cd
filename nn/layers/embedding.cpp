#include "nn/layers/embedding.h"

#include "core/error.h"
#include "core/ops/index.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/statistics.h"
#include "core/thread_state.h"
#include "nn/init.h"

namespace weft::nn {

Embedding::Embedding(int64_t num_embeddings, int64_t embedding_dim, const EmbeddingLayerOptions& o)
    : options(o), weight(*this, "weight", empty({num_embeddings, embedding_dim})) {
  if (o.padding_idx) {
    WEFT_CHECK(*o.padding_idx >= -num_embeddings && *o.padding_idx < num_embeddings,
               "Embedding: padding_idx {} is out of range for {} embeddings", *o.padding_idx, num_embeddings);
    if (*o.padding_idx < 0) options.padding_idx = *o.padding_idx + num_embeddings;
  }
  reset_parameters();
}
Embedding Embedding::from_pretrained(const Tensor& weight, bool freeze, const EmbeddingLayerOptions& o) {
  WEFT_CHECK(weight.defined() && weight.dim() == 2, "Embedding::from_pretrained: the weight must be a matrix");
  Embedding layer(0, weight.size(1));
  layer.options = o;
  layer.weight = weight.detach();
  layer.weight.set_requires_grad(!freeze);
  return layer;
}
void Embedding::reset_parameters() {
  init::normal_(weight);
  if (!options.padding_idx) return;
  NoGrad guard;
  weight.select(0, *options.padding_idx).zero_();
}
Tensor Embedding::forward(const Tensor& indices) const {
  if (options.max_norm) {
    NoGrad guard;
    Tensor used = indices.reshape({-1}), rows = embedding(used, weight), values = weight;
    Tensor norms = norm(rows, options.norm_type, {.dim = 1, .keepdim = true});
    values.index_put_({used},
                      where(norms.gt(*options.max_norm), rows.mul(div(*options.max_norm, norms.add(1e-7))), rows));
  }
  if (options.scale_grad_by_freq) {
    Tensor y = embedding(indices, weight, {.padding_idx = options.padding_idx});
    if (!y.requires_grad()) return y;
    Tensor flat = indices.reshape({-1}), counts = zeros({weight.size(0)}, {.dtype = y.dtype(), .device = y.device()});
    counts.index_add_(0, flat, ones(flat.sizes(), {.dtype = y.dtype(), .device = y.device()}));
    Tensor times = counts.index_select(0, flat).view(indices.sizes()).unsqueeze(-1);
    y.register_hook([times](const Tensor& g) { return g.div(times); });
    return y;
  }
  return embedding(indices, weight, {.padding_idx = options.padding_idx});
}
std::string Embedding::extra_repr() const {
  std::string text = detail::format("{}, {}", {weight.size(0), weight.size(1)});
  if (options.padding_idx) text += detail::format(", padding_idx={}", {*options.padding_idx});
  return text;
}

}  // namespace weft::nn
