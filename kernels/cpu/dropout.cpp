#include "core/ops/dropout.h"

#include "core/pointwise_loops.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/random.h"

namespace weft::cpu {
namespace {

// An element stays if its word is at least p 2^32. Dropped ones are multiplied by 0, so that NaN and infinity show.
template <class T>
void run(const T* x, T* y, const uint32_t* words, int64_t count, uint32_t limit, T scale) {
  WEFT_VECTORIZE
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * (words[i] >= limit ? scale : T(0));
}

template <class T>
void whole(const Tensor& x, const Tensor& y, const DropoutOp::Attrs& a, uint32_t limit, DType compute) {
  const bool direct = x.dtype() == compute;
  const T scale = static_cast<T>(1 / (1 - a.p));
  const ConvertFn load = converter(compute, x.dtype()), store = converter(x.dtype(), compute);
  const int64_t width = static_cast<int64_t>(itemsize(x.dtype()));
  const char* from = static_cast<const char*>(x.data_ptr());
  char* to = static_cast<char*>(y.data_ptr());
  random_tiles<uint32_t>(x.numel(), a.state, [&](const uint32_t* words, int64_t begin, int64_t count) {
    if (direct)
      return run(reinterpret_cast<const T*>(from) + begin, reinterpret_cast<T*>(to) + begin, words, count, limit,
                 scale);
    alignas(64) T tile[kRandomTile];
    load(tile, 1, from + begin * width, 1, count);
    run(tile, tile, words, count, limit, scale);
    store(to + begin * width, 1, tile, 1, count);
  });
}

}  // namespace

void dropout(const OpCall& c) {
  const auto& a = c.as<DropoutOp::Attrs>();
  const uint32_t limit = static_cast<uint32_t>(std::min(a.p * 4294967296.0, 4294967295.0));
  if (c.in[0].dtype() == DType::f64)
    whole<double>(c.in[0], c.out[0], a, limit, DType::f64);
  else
    whole<float>(c.in[0], c.out[0], a, limit, DType::f32);
}

}  // namespace weft::cpu
