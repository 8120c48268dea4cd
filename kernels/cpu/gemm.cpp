#include "kernels/cpu/gemm.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/cpu/gemm_impl.h"

namespace weft::kernels {

void gemm(const Gemm& g) {
  if (g.m <= 0 || g.n <= 0) return;
  const bool vector = g.m == 1 || g.n == 1;
  switch (g.dtype) {
    case DType::f32:
      return vector ? gemv_f32(g) : gemm_f32(g);
    case DType::f64:
      return vector ? gemv_f64(g) : gemm_f64(g);
    case DType::bf16:
      return gemm_bf16(g);
    case DType::f16:
      return gemm_f16(g);
    case DType::bool_:
      WEFT_FAIL("gemm: bool has no products; got bool operands; convert them first");
    default:
      return gemm_integer(g);
  }
}

void gemm_batched(const Gemm& g, int64_t batch, int64_t a_bs, int64_t b_bs, int64_t c_bs) {
  if (g.m <= 0 || g.n <= 0) return;
  const int64_t size = static_cast<int64_t>(itemsize(g.dtype));
  const auto one = [&](int64_t i) {
    Gemm part = g;
    part.a = static_cast<const char*>(g.a) + i * a_bs * size;
    part.b = static_cast<const char*>(g.b) + i * b_bs * size;
    part.c = static_cast<char*>(g.c) + i * c_bs * size;
    gemm(part);
  };
  // Threads over the batch where it feeds them all, else inside each product: the same bits either way.
  const int64_t work = g.m * g.n * g.k;
  if (batch >= 2 * num_threads() || work < 64 * 64 * 64) {
    const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 18) / (work + 1));
    parallel_for(batch, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) one(i);
    });
  } else {
    for (int64_t i = 0; i < batch; ++i) one(i);
  }
}

}  // namespace weft::kernels
