#include "core/ops/scan.h"

#include "kernels/cuda/allocator.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/reduce.cuh"

namespace weft::gpu {
namespace {

// What a running result is kept in. Integers wrap, so that the widest unsigned type serves all.
template <class S>
using Running =
    std::conditional_t<is_half_type<S>, float, std::conditional_t<std::is_floating_point_v<S>, double, u64>>;

template <class S>
WEFT_FN Running<S> widen(S x) {
  return static_cast<Running<S>>(load<S>(x));
}
template <class S>
WEFT_FN S narrow(Running<S> x) {
  return store<S>(static_cast<Wide<S>>(x));
}
template <bool Product, class T>
WEFT_FN T step(T a, T b) {
  return Product ? a * b : a + b;
}

// Lines [outer, n, inner] of contiguous memory.
struct Lines {
  const void* in;
  void* out;
  i64 outer, n, inner, chunks;
};

inline constexpr int kEach = 8, kChunk = kEach * kThreads;

// A thread for each line, in the order of the elements.
template <bool Product, class S>
__global__ void __launch_bounds__(kThreads) scan_columns(Lines l) {
  WEFT_FOR_EACH(line, l.outer * l.inner) {
    const i64 first = line / l.inner * l.n * l.inner + line % l.inner;
    const S* x = static_cast<const S*>(l.in) + first;
    S* y = static_cast<S*>(l.out) + first;
    Running<S> total(Product);
    i64 i = 0;
    for (; i + kEach <= l.n; i += kEach) {
      S v[kEach];
#pragma unroll
      for (int k = 0; k < kEach; ++k) v[k] = x[(i + k) * l.inner];
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        total = step<Product>(total, widen(v[k]));
        y[(i + k) * l.inner] = narrow<S>(total);
      }
    }
    for (; i < l.n; ++i) {
      total = step<Product>(total, widen(x[i * l.inner]));
      y[i * l.inner] = narrow<S>(total);
    }
  }
}

// The same for lines that are runs of memory: a warp turns tiles of 32 lines in shared memory.
template <class S>
inline constexpr int kRowWarps = sizeof(S) == 8 ? 4 : 8;  // whose tiles fit into static shared memory

template <bool Product, class S>
__global__ void __launch_bounds__(kThreads) scan_rows(Lines l) {
  constexpr int kWarps = kRowWarps<S>;
  WEFT_SHARED(S[kWarps * 32 * 33], tiles);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  S* tile = tiles + warp * 32 * 33;
  for (i64 line = (i64(blockIdx.x) * kWarps + warp) * 32; line < l.outer; line += i64(gridDim.x) * kWarps * 32) {
    const int lines = int(l.outer - line < 32 ? l.outer - line : 32);
    const S* x = static_cast<const S*>(l.in) + line * l.n;
    S* y = static_cast<S*>(l.out) + line * l.n;
    Running<S> total(Product);
    for (i64 first = 0; first < l.n; first += 32) {
      const int count = int(l.n - first < 32 ? l.n - first : 32);
      if (lane < count)
        for (int k = 0; k < lines; ++k) tile[k * 33 + lane] = x[k * l.n + first + lane];
      __syncwarp();
      if (lane < lines)
        for (int j = 0; j < count; ++j) {
          total = step<Product>(total, widen(tile[lane * 33 + j]));
          tile[lane * 33 + j] = narrow<S>(total);
        }
      __syncwarp();
      if (lane < count)
        for (int k = 0; k < lines; ++k) y[k * l.n + first + lane] = tile[k * 33 + lane];
      __syncwarp();
    }
  }
}

// What comes before each thread's `own`, over the threads of a block; `all` becomes the combination of all. `shared`
// holds 32 values.
template <bool Product, class T>
__device__ T before_mine(T own, T* shared, T& all) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  T inclusive = own;
  for (int by = 1; by < 32; by *= 2) {
    const T other = __shfl_up_sync(kWholeWarp, inclusive, by);
    if (lane >= by) inclusive = step<Product>(other, inclusive);
  }
  const T up = __shfl_up_sync(kWholeWarp, inclusive, 1);
  __syncthreads();  // the values of the last call have been read
  if (lane == 31) shared[warp] = inclusive;
  __syncthreads();
  T before(Product);
  all = T(Product);
  for (int w = 0; w < kThreads / 32; ++w) {
    if (w == warp) before = all;
    all = step<Product>(all, shared[w]);
  }
  return lane == 0 ? before : step<Product>(before, up);
}

// Few long lines: a block of threads takes a chunk of a line. `totals` holds what comes before each chunk, or (Write is
// false) receives each chunk's combination.
template <bool Product, bool Write, class S>
__global__ void __launch_bounds__(kThreads) scan_chunks(Lines l, Running<S>* totals) {
  using T = Running<S>;
  WEFT_SHARED(T[32], shared);
  const i64 lines = l.outer * l.inner;
  for (i64 unit = blockIdx.x; unit < lines * l.chunks; unit += gridDim.x) {
    const i64 line = unit / l.chunks, i = unit % l.chunks * kChunk + threadIdx.x * kEach;
    const i64 first = line / l.inner * l.n * l.inner + line % l.inner;
    const S* x = static_cast<const S*>(l.in) + first;
    T v[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) v[k] = i + k < l.n ? widen(x[(i + k) * l.inner]) : T(Product);
#pragma unroll
    for (int k = 1; k < kEach; ++k) v[k] = step<Product>(v[k - 1], v[k]);
    T all;
    T before = before_mine<Product>(v[kEach - 1], shared, all);
    if constexpr (!Write) {
      if (threadIdx.x == 0) totals[unit] = all;
    } else {
      S* y = static_cast<S*>(l.out) + first;
      if (totals != nullptr) before = step<Product>(totals[unit], before);
#pragma unroll
      for (int k = 0; k < kEach; ++k)
        if (i + k < l.n) y[(i + k) * l.inner] = narrow<S>(step<Product>(before, v[k]));
    }
  }
}

// Turns the combinations of a line's chunks into what comes before each; a block of threads for each line.
template <bool Product, class T>
__global__ void __launch_bounds__(kThreads) scan_totals(T* totals, i64 lines, i64 chunks) {
  WEFT_SHARED(T[32], shared);
  for (i64 line = blockIdx.x; line < lines; line += gridDim.x) {
    T carry(Product);
    for (i64 first = 0; first < chunks; first += kThreads) {
      const i64 i = first + threadIdx.x;
      T all;
      const T before = before_mine<Product>(i < chunks ? totals[line * chunks + i] : T(Product), shared, all);
      if (i < chunks) totals[line * chunks + i] = step<Product>(carry, before);
      carry = step<Product>(carry, all);
    }
  }
}

template <bool Product, class S>
void scan_lines(Lines l) {
  using T = Running<S>;
  const i64 lines = l.outer * l.inner;
  // One order for a shape: line after line where lines are many or short.
  if (lines >= 4096 || l.n <= 64) {
    if (l.inner == 1 && l.n > 1)
      return launch(scan_rows<Product, S>, grid_for(lines), 32 * kRowWarps<S>, 0, current_stream(), l);
    return launch(scan_columns<Product, S>, grid_for(lines), kThreads, 0, current_stream(), l);
  }
  l.chunks = (l.n + kChunk - 1) / kChunk;
  const dim3 grid(unsigned(std::min<i64>(lines * l.chunks, 1 << 30)));
  if (l.chunks == 1)
    return launch(scan_chunks<Product, true, S>, grid, kThreads, 0, current_stream(), l, static_cast<T*>(nullptr));
  const Workspace totals(size_t(lines * l.chunks) * sizeof(T));
  launch(scan_chunks<Product, false, S>, grid, kThreads, 0, current_stream(), l, totals.as<T>());
  launch(scan_totals<Product, T>, dim3(unsigned(lines)), kThreads, 0, current_stream(), totals.as<T>(), lines,
         l.chunks);
  launch(scan_chunks<Product, true, S>, grid, kThreads, 0, current_stream(), l, totals.as<T>());
}

}  // namespace

void scan(const OpCall& c) {
  const auto& a = c.as<ScanOp::Attrs>();
  const Tensor& x = c.in[0];
  if (x.numel() == 0) return;
  Lines l{x.impl()->data, c.out[0].impl()->data, 1, x.sizes()[a.dim], 1, 1};
  for (int d = 0; d < a.dim; ++d) l.outer *= x.sizes()[d];
  for (int d = a.dim + 1; d < x.dim(); ++d) l.inner *= x.sizes()[d];
  with_dtype(x.dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    if constexpr (!std::is_same_v<S, Bool>) a.product ? scan_lines<true, S>(l) : scan_lines<false, S>(l);
  });
}

}  // namespace weft::gpu
