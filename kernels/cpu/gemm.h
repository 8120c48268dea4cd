#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "core/packed_weight.h"

namespace weft::kernels {

/// C[m, n] = alpha * A[m, k] B[k, n] + beta * C + bias[n] on raw memory.
///
/// A and B have any row and column strides (in elements; transposed, stepped, broadcast with 0); C is row-major with
/// row stride ldc >= n and overlaps neither A nor B. beta == 0 never reads C; bias may be null, and is read once a row.
/// All dtypes but bool (Error). f32 and f64 accumulate in their own type, bf16 and f16 in f32 with one
/// rounding at the end; integers wrap, and alpha and beta are truncated to int64.
///
/// Bits: a function of (m, n, k, dtype, the strides, the instruction set), never of the number of threads. With
/// AVX512-BF16 bf16 products are summed in pairs and denormals count as zero; without it, one by one, as for f32.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t a_rs = 0, a_cs = 0;
  const void* b = nullptr;
  int64_t b_rs = 0, b_cs = 0;
  void* c = nullptr;
  int64_t ldc = 0;
  DType dtype = DType::f32;
  double alpha = 1, beta = 0;
  const void* bias = nullptr;
  cpu::PackedWeight* packed_b = nullptr;  ///< where the panels of B stay from call to call
};

void gemm(const Gemm& g);

/// `batch` products of the sizes of g; matrix i starts at a + i * a_bs, b + i * b_bs, c + i * c_bs (strides in
/// elements; 0 shares a matrix, not allowed for C). The bias is shared.
void gemm_batched(const Gemm& g, int64_t batch, int64_t a_bs, int64_t b_bs, int64_t c_bs);

}  // namespace weft::kernels
