#pragma once
#include <optional>

#include "core/dispatch.h"

namespace weft {

struct AttentionOptions {
  Tensor attn_mask = {};             ///< broadcasts to [..., tq, tk]; bool (false hides the key) or added to the scores
  double dropout_p = 0;              ///< of the probabilities; drawn from default_generator()
  bool is_causal = false;            ///< row i sees the keys j <= i; not together with a mask
  std::optional<double> scale = {};  ///< default 1 / sqrt(d)
  bool enable_gqa = false;           ///< q may have a multiple of the heads of k and v
};

/// softmax(scale q k^T + mask) v (torch.nn.functional.scaled_dot_product_attention) for q [..., tq, d], k [..., tk, d]
/// and v [..., tk, dv] of one floating dtype, whose leading dimensions broadcast. A row that sees no key gives 0. The
/// matrix of scores is never stored, unless probabilities are dropped or the mask has a gradient.
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& o = {});

// ---- records
struct AttentionAttrs {
  double scale;
  bool causal;
};
struct AttentionOp {  ///< q, k, v [batch, heads, time, width], mask -> out, log-sum-exp of the scores
  static const OpRecord record;
};
struct AttentionBackwardOp {  ///< gradient of out, q, k, v, mask, out, log-sum-exp -> gradients of q, k, v
  static const OpRecord record;
};

namespace detail {
/// The same value from other ops, which can be differentiated any number of times.
Tensor composite_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                           const AttentionAttrs& a, double dropout_p = 0);
/// [batch, heads, time, width] in memory [batch, time, heads, width]: what a projection wants next, without a copy.
Tensor allocate_heads(const Dims& sizes, DType dtype, Device device);
}  // namespace detail

namespace cpu {
void attention(const OpCall& c);
void attention_backward(const OpCall& c);
}  // namespace cpu
namespace rules {
void attention(Node& n, const Tensor* g, Tensor* gin);
void attention_backward(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
