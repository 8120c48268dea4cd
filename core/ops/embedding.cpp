#include "core/ops/embedding.h"

#include "core/error.h"
#include "core/ops/index.h"

namespace weft {

const OpRecord EmbeddingOp::record{
    .name = "embedding", .save_inputs = 0b10, .cpu = cpu::embedding, .rule = rules::embedding};

Tensor embedding(const Tensor& indices, const Tensor& weight, const EmbeddingOptions& o) {
  WEFT_CHECK(indices.defined() && weight.defined(), "embedding: undefined tensor");
  WEFT_CHECK(weight.dim() == 2, "embedding: weight must be a matrix [rows, features], got {}", weight);
  WEFT_CHECK_TYPE(indices.dtype() == DType::i64 || indices.dtype() == DType::i32,
                  "embedding: indices must be i64 or i32, got {}", indices);
  const int64_t rows = weight.sizes()[0];
  int64_t padding = -1;
  if (o.padding_idx) {
    WEFT_CHECK_INDEX(*o.padding_idx >= -rows && *o.padding_idx < rows,
                     "embedding: padding_idx {} out of range for {} rows", *o.padding_idx, rows);
    padding = *o.padding_idx < 0 ? *o.padding_idx + rows : *o.padding_idx;
  }
  Tensor linear = detail::linear_index({indices}, {rows}, false, "embedding", 0);
  Dims sizes = indices.sizes();
  sizes.push_back(weight.sizes()[1]);
  Tensor out = detail::allocate(sizes, weight.dtype(), weight.device());
  const Tensor in[2] = {weight, linear};
  dispatch(EmbeddingOp::record, in, out, EmbeddingOp::Attrs{weight.sizes(), padding});
  return out;
}

}  // namespace weft
