#include "core/ops/dropout.h"

#include <algorithm>

#include "core/error.h"
#include "core/ops/philox.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.cuh"

// The values of kernels/cpu/dropout.cpp: element e keeps its place in the stream of core/ops/philox.h.
namespace weft::gpu {
namespace {

// A thread takes kNear neighbouring counters of a group of 16: each of their four words belongs to kNear neighbouring
// elements. Dropped elements are multiplied by 0, so that NaN and infinity show.
template <class S, bool Aligned>
__global__ void __launch_bounds__(kThreads)
    drop(const S* x, S* y, i64 n, u64 seed, u64 offset, u32 limit, Wide<S> scale) {
  using T = Wide<S>;
  constexpr int kNear = Pack<S>::kCount, kParts = rng::kGroupCounters / kNear;
  const i64 work = (n + rng::kGroupWords - 1) / rng::kGroupWords * kParts;
  WEFT_FOR_EACH(part, work) {
    const i64 group = part / kParts;
    const int first = int(part % kParts) * kNear;
    const i64 start = group * rng::kGroupWords + first;
    const u64 counter = offset + u64(group) * rng::kGroupCounters + first;
    Pack<S> pack[4];
    if (Aligned && start + 3 * rng::kGroupCounters + kNear <= n) {
#pragma unroll
      for (int w = 0; w < 4; ++w) pack[w] = *reinterpret_cast<const Pack<S>*>(x + start + w * rng::kGroupCounters);
#pragma unroll
      for (int k = 0; k < kNear; ++k) {
        const rng::Words words = rng::philox(seed, counter + k);
#pragma unroll
        for (int w = 0; w < 4; ++w) pack[w].v[k] = store<S>(load(pack[w].v[k]) * (words.w[w] >= limit ? scale : T(0)));
      }
#pragma unroll
      for (int w = 0; w < 4; ++w) *reinterpret_cast<Pack<S>*>(y + start + w * rng::kGroupCounters) = pack[w];
    } else {
      for (int k = 0; k < kNear; ++k) {
        const rng::Words words = rng::philox(seed, counter + k);
#pragma unroll
        for (int w = 0; w < 4; ++w)
          if (const i64 e = start + w * rng::kGroupCounters + k; e < n)
            y[e] = store<S>(load(x[e]) * (words.w[w] >= limit ? scale : T(0)));
      }
    }
  }
}

}  // namespace

void dropout(const OpCall& c) {
  const auto& a = c.as<DropoutOp::Attrs>();
  const u32 limit = u32(std::min(a.p * 4294967296.0, 4294967295.0));
  const Tensor x = dense(c.in[0]);
  const i64 n = x.numel();
  if (n == 0) return;
  const bool known = with_floating(x.dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    const S* from = static_cast<const S*>(x.impl()->data);
    S* to = static_cast<S*>(c.out[0].impl()->data);
    const i64 threads = (n + rng::kGroupWords - 1) / rng::kGroupWords * (rng::kGroupCounters / Pack<S>::kCount);
    launch(aligned16(from) && aligned16(to) ? drop<S, true> : drop<S, false>, grid_for(threads), kThreads, 0,
           current_stream(), from, to, n, a.state.seed, a.state.offset, limit, Wide<S>(1 / (1 - a.p)));
  });
  if (!known) WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, x.dtype());
}

}  // namespace weft::gpu
