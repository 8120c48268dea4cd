#pragma once
#include "kernels/cpu/gemm.h"

namespace weft::kernels {

/// gemm() by dtype; m, n >= 1. The vector forms take m == 1 or n == 1.
void gemm_f32(const Gemm& g);
void gemm_f64(const Gemm& g);
void gemm_bf16(const Gemm& g);
void gemm_f16(const Gemm& g);
void gemm_integer(const Gemm& g);
void gemv_f32(const Gemm& g);
void gemv_f64(const Gemm& g);

}  // namespace weft::kernels
