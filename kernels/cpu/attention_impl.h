#pragma once
#include "kernels/cpu/attention.h"

namespace weft::kernels {

/// attention() and attention_backward() of one dtype.
struct AttentionKernels {
  void (*forward)(const Attention&, const AttentionResult&, void*);
  void (*backward)(const Attention&, const AttentionOperand&, const AttentionOperand&, const void*,
                   const AttentionResult&, const AttentionResult&, const AttentionResult&);
};
extern const AttentionKernels kAttentionF32, kAttentionF64, kAttentionBf16, kAttentionF16;

}  // namespace weft::kernels
