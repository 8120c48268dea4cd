#include "kernels/cuda/blas.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "core/error.h"
#include "kernels/convert_value.h"
#include "kernels/cuda/emulate/streams.h"

namespace weft::gpu {
namespace {

double read(const void* p, int64_t i, DType t) {
  switch (t) {
    case DType::f32:
      return static_cast<const float*>(p)[i];
    case DType::f64:
      return static_cast<const double*>(p)[i];
    case DType::bf16:
      return convert_value<float>(static_cast<const BFloat16*>(p)[i]);
    default:
      return convert_value<float>(static_cast<const Half*>(p)[i]);
  }
}
void write(void* p, int64_t i, DType t, double v) {
  switch (t) {
    case DType::f32:
      static_cast<float*>(p)[i] = float(v);
      break;
    case DType::f64:
      static_cast<double*>(p)[i] = v;
      break;
    case DType::bf16:
      static_cast<BFloat16*>(p)[i] = convert_value<BFloat16>(float(v));
      break;
    default:
      static_cast<Half*>(p)[i] = convert_value<Half>(float(v));
  }
}

double as_tf32(double v) {
  const uint32_t bits = std::bit_cast<uint32_t>(float(v));
  return (bits & 0x7f800000u) == 0x7f800000u ? v : std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
}

// op(X), rows x columns, as rows of doubles.
std::vector<double> gather(const void* x, int64_t offset, int64_t ld, bool transpose, int64_t rows, int64_t columns,
                           const MatmulCall& call) {
  std::vector<double> out(rows * columns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const double v = read(x, offset + (transpose ? j + i * ld : i + j * ld), call.in);
      out[i * columns + j] = call.compute == MatmulCompute::tf32 ? as_tf32(v) : v;
    }
  return out;
}

void one(const MatmulCall& call, int64_t batch) {
  const int64_t m = call.m, n = call.n, k = call.k;
  const auto a = gather(call.a, batch * call.stride_a, call.lda, call.transpose_a, m, k, call);
  const auto b = gather(call.b, batch * call.stride_b, call.ldb, call.transpose_b, k, n, call);
  std::vector<double> sums(n);
  for (int64_t i = 0; i < m; ++i) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t l = 0; l < k; ++l) {
      const double factor = a[i * k + l];
      const double* row = &b[l * n];
      for (int64_t j = 0; j < n; ++j) sums[j] += factor * row[j];
    }
    for (int64_t j = 0; j < n; ++j) {
      double v = call.alpha * sums[j];
      if (call.beta != 0) v += call.beta * read(call.c, batch * call.stride_c + i + j * call.ldc, call.out);
      if (call.epilogue == MatmulEpilogue::bias) v += read(call.bias, i, call.out);
      write(call.d, batch * call.stride_d + i + j * call.ldd, call.out, v);
    }
  }
  if (call.epilogue == MatmulEpilogue::bias_gradient) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t l = 0; l < k; ++l)
      for (int64_t j = 0; j < n; ++j) sums[j] += b[l * n + j];
    for (int64_t j = 0; j < n; ++j) write(call.bias, j, call.out, sums[j]);
  }
}

// What cuBLASLt refuses is refused here.
void check_call(const MatmulCall& c) {
  WEFT_ASSERT(c.m > 0 && c.n > 0 && c.k > 0 && c.batch > 0 && c.batch <= kMaxMatmulBatch,
              "matmul: {} matrices, m {} n {} k {}", c.batch, c.m, c.n, c.k);
  WEFT_ASSERT(c.lda >= (c.transpose_a ? c.k : c.m) && c.ldb >= (c.transpose_b ? c.n : c.k) && c.ldd >= c.m &&
                  (c.beta == 0 || c.ldc >= c.m),
              "matmul: leading dimensions {} {} {} {} for m {} n {} k {}", c.lda, c.ldb, c.ldc, c.ldd, c.m, c.n, c.k);
  WEFT_ASSERT(is_floating(c.in) && (c.out == c.in || (itemsize(c.in) == 2 && c.out == DType::f32)) &&
                  (c.in == DType::f64) == (c.compute == MatmulCompute::f64) &&
                  (c.compute != MatmulCompute::tf32 || c.in == DType::f32),
              "matmul: {} to {} in compute type {}", c.in, c.out, int(c.compute));
  WEFT_ASSERT(c.a && c.b && c.d && (c.beta == 0 || c.c) && (c.epilogue == MatmulEpilogue::none || c.bias),
              "matmul: an operand is null");
  WEFT_ASSERT(c.epilogue != MatmulEpilogue::bias_gradient || c.batch == 1, "matmul: bias gradient of a batch");
}

}  // namespace

bool matmul(const MatmulCall& call, cudaStream_t stream) {
  check_call(call);
  ++launches;
  emulate::put(stream, [call] {
    for (int64_t i = 0; i < call.batch; ++i) one(call, i);
  });
  return true;
}

std::string blas_library() { return "host emulation"; }

}  // namespace weft::gpu
