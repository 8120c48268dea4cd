#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace weft::kernels {

/// One operand [batch, heads, time, width] by strides in elements; the last dimension is contiguous.
struct AttentionOperand {
  const void* data = nullptr;
  int64_t batch_stride = 0, head_stride = 0, time_stride = 0;
};
struct AttentionResult {
  void* data = nullptr;
  int64_t batch_stride = 0, head_stride = 0, time_stride = 0;
};

/// out = softmax(scale * q k^T + mask) v, without the [tq, tk] matrix in memory (torch scaled_dot_product_attention).
///
/// q [batch, heads, tq, d]; k [batch, kv_heads, tk, d]; v [batch, kv_heads, tk, dv]; out [batch, heads, tq, dv]. heads
/// is a multiple of kv_heads: head h reads head h / (heads / kv_heads) of k and v. causal: row i sees the keys j <= i.
/// mask [batch, heads, tq, tk] by four strides (0 broadcasts): added (of `dtype`), or bool, where false hides the key.
/// A row that sees no key gives 0. dtype: f32, f64, bf16 or f16; 16-bit inputs are computed in f32.
/// Bits never depend on the number of threads.
struct Attention {
  int64_t batch = 0, heads = 0, kv_heads = 0, tq = 0, tk = 0, d = 0, dv = 0;
  DType dtype = DType::f32;
  AttentionOperand q, k, v;
  const void* mask = nullptr;
  bool bool_mask = false;
  int64_t mask_strides[4] = {0, 0, 0, 0};
  bool causal = false;
  double scale = 1;
};

/// Writes out and lse [batch, heads, tq], contiguous: log(sum(exp(scores))) of each row, f64 for f64 and else f32.
void attention(const Attention& a, const AttentionResult& out, void* lse);

/// Gradients of q, k and v for that of the output; out and lse are what attention() wrote.
void attention_backward(const Attention& a, const AttentionOperand& grad_out, const AttentionOperand& out,
                        const void* lse, const AttentionResult& grad_q, const AttentionResult& grad_k,
                        const AttentionResult& grad_v);

}  // namespace weft::kernels
