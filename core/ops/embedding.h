#pragma once
#include "core/dispatch.h"

namespace weft {

struct EmbeddingOptions {
  std::optional<int64_t> padding_idx = {};  ///< this row (negative: from the end) gets no gradient
};
/// Rows of weight [V, D]: indices (i64 or i32, any shape) -> [..., D] (torch.nn.functional.embedding). Equal indices
/// add up in the gradient in their order, for any number of threads.
Tensor embedding(const Tensor& indices, const Tensor& weight, const EmbeddingOptions& o = {});

struct EmbeddingOp {  ///< (weight, linear indices)
  struct Attrs {
    Dims weight_sizes;
    int64_t padding;  ///< -1: none
  };
  static const OpRecord record;
};
namespace cpu {
void embedding(const OpCall& c);
}
namespace rules {
void embedding(Node& n, const Tensor* g, Tensor* gin);
}

}  // namespace weft
