#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/gemm_impl.h"

namespace weft::kernels {
namespace {

template <class T>
void run(const Gemm& g) {
  using U = std::make_unsigned_t<T>;  // sums wrap
  const T *a = static_cast<const T*>(g.a), *b = static_cast<const T*>(g.b), *bias = static_cast<const T*>(g.bias);
  T* c = static_cast<T*>(g.c);
  const auto alpha = static_cast<U>(static_cast<int64_t>(g.alpha)), beta = static_cast<U>(static_cast<int64_t>(g.beta));
  parallel_for(g.m, std::max<int64_t>(1, 65536 / (g.n * g.k + 1)), [&](int64_t begin, int64_t end) {
    std::vector<U> sum(g.n);
    for (int64_t i = begin; i < end; ++i) {
      std::fill(sum.begin(), sum.end(), U(0));
      for (int64_t p = 0; p < g.k; ++p) {
        const auto x = static_cast<U>(a[i * g.a_rs + p * g.a_cs]);
        const T* row = b + p * g.b_rs;
        for (int64_t j = 0; j < g.n; ++j) sum[j] = static_cast<U>(sum[j] + x * static_cast<U>(row[j * g.b_cs]));
      }
      T* out = c + i * g.ldc;
      for (int64_t j = 0; j < g.n; ++j) {
        U v = static_cast<U>(alpha * sum[j]);
        if (beta != 0) v = static_cast<U>(v + beta * static_cast<U>(out[j]));
        if (bias) v = static_cast<U>(v + static_cast<U>(bias[j]));
        out[j] = static_cast<T>(v);
      }
    }
  });
}

}  // namespace

void gemm_integer(const Gemm& g) {
  switch (g.dtype) {
    case DType::i8:
      return run<int8_t>(g);
    case DType::u8:
      return run<uint8_t>(g);
    case DType::i16:
      return run<int16_t>(g);
    case DType::i32:
      return run<int32_t>(g);
    default:
      return run<int64_t>(g);
  }
}

}  // namespace weft::kernels
