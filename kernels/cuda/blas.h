#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "kernels/cuda/runtime.h"

// The cut between weft and NVIDIA's cuBLASLt: one plain struct per product, which kernels/cuda/real hands on unchanged
// and kernels/cuda/emulate interprets literally on the host.
namespace weft::gpu {

enum class MatmulCompute : uint8_t {
  f32,
  tf32,  ///< f32 operands rounded to 10 bits of mantissa, sums in f32
  f64,
};
enum class MatmulEpilogue : uint8_t {
  none,
  bias,           ///< bias[i] is added to row i of D before it is rounded
  bias_gradient,  ///< also: bias[j] = sum over k of op(B)[k, j], written
};

/// D = alpha op(A) op(B) + beta C for every matrix of a batch. All matrices are column-major: element [i, j] lies at
/// i + j * ld. op(A) is m x k, op(B) k x n, C and D m x n.
struct MatmulCall {
  int64_t m, n, k;    ///< at least 1
  int64_t batch = 1;  ///< matrices, up to kMaxMatmulBatch
  const void *a, *b;
  const void* c = nullptr;  ///< read only where beta is not 0
  void* d;
  int64_t lda, ldb, ldc = 0, ldd;  ///< in elements; at least the rows of the matrix as it lies in memory
  int64_t stride_a = 0, stride_b = 0, stride_c = 0, stride_d = 0;  ///< from one matrix of the batch to the next
  bool transpose_a = false, transpose_b = false;                   ///< op(X) is X transposed
  DType in, out;                                                   ///< of A and B; of C, D and the bias
  MatmulCompute compute = MatmulCompute::f32;
  double alpha = 1, beta = 0;
  MatmulEpilogue epilogue = MatmulEpilogue::none;
  void* bias = nullptr;  ///< of the epilogue: m values that are read, or n that are written
};
inline constexpr int64_t kMaxMatmulBatch = 65535;

/// Puts the product into `stream`, which belongs to the current device. False, with nothing done: the library has no
/// algorithm for it. Throws where there is no library.
bool matmul(const MatmulCall& call, cudaStream_t stream);

/// The library's name, version and path; why there is none.
std::string blas_library();

/// What sums of `t` are kept in: f64, or f32, or TF32 where the user allows that.
MatmulCompute matmul_compute(DType t);

}  // namespace weft::gpu
