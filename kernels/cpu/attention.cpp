#include "kernels/cpu/attention.h"

#include "core/error.h"
#include "kernels/cpu/attention_impl.h"

namespace weft::kernels {
namespace {

const AttentionKernels& kernels_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return kAttentionF32;
    case DType::f64:
      return kAttentionF64;
    case DType::bf16:
      return kAttentionBf16;
    case DType::f16:
      return kAttentionF16;
    default:
      WEFT_FAIL("attention: needs a floating dtype; got {}; convert the tensors first", dtype);
  }
}

}  // namespace

void attention(const Attention& a, const AttentionResult& out, void* lse) { kernels_of(a.dtype).forward(a, out, lse); }

void attention_backward(const Attention& a, const AttentionOperand& grad_out, const AttentionOperand& out,
                        const void* lse, const AttentionResult& grad_q, const AttentionResult& grad_k,
                        const AttentionResult& grad_v) {
  kernels_of(a.dtype).backward(a, grad_out, out, lse, grad_q, grad_k, grad_v);
}

}  // namespace weft::kernels
