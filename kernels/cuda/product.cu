#include "kernels/cuda/product.h"

#include "kernels/cuda/elements.cuh"

namespace weft::gpu {
namespace {

// A block makes 64 x 64 results in steps of 16 along k, a thread 4 x 4 of them.
constexpr int kTile = 64, kDepth = 16, kEach = 4;

template <class S>
struct SumType {
  using type = Wide<S>;
};
template <class S>
requires std::is_integral_v<S>
struct SumType<S> {  // unsigned: sums wrap
  using type = std::conditional_t<sizeof(S) == 8, u64, u32>;
};
template <class S>
using Sum = typename SumType<S>::type;

template <class S>
WEFT_FN Sum<S> widen(S x) {
  if constexpr (std::is_integral_v<S>)
    return static_cast<Sum<S>>(x);
  else
    return load<S>(x);
}
template <class S>
WEFT_FN S narrow(Sum<S> x) {
  if constexpr (std::is_integral_v<S>)
    return static_cast<S>(x);
  else
    return store<S>(x);
}

template <class S>
struct ProductArguments {
  const S *a, *b, *addend;
  S* out;
  i64 m, n, k;
  i64 a_row, a_column, a_batch, b_row, b_column, b_batch, addend_row, addend_column, addend_batch, out_row, out_column,
      out_batch;
  i64 row_tiles, column_tiles, tiles;
  Sum<S> alpha, beta;
};

// Lines [line, line + 64) x depths [depth, depth + 16) of x into tile[depth][line]; neighbours in memory are read by
// neighbouring threads.
template <class S>
__device__ __forceinline__ void read_tile(Sum<S>* tile, const S* x, i64 line, i64 lines, i64 line_stride, i64 depth,
                                          i64 depths, i64 depth_stride) {
  const bool along_depth = depth_stride == 1;
#pragma unroll
  for (int e = threadIdx.x; e < kTile * kDepth; e += kThreads) {
    const int d = along_depth ? e % kDepth : e / kTile, l = along_depth ? e / kDepth : e % kTile;
    Sum<S> v = 0;
    if (line + l < lines && depth + d < depths) v = widen(x[(line + l) * line_stride + (depth + d) * depth_stride]);
    tile[d * (kTile + 1) + l] = v;
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads) product_tiles(ProductArguments<S> p) {
  WEFT_SHARED(Sum<S>[kDepth * (kTile + 1)], tile_a);
  WEFT_SHARED(Sum<S>[kDepth * (kTile + 1)], tile_b);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (i64 t = blockIdx.x; t < p.tiles; t += gridDim.x) {
    const i64 batch = t / (p.row_tiles * p.column_tiles), inside = t % (p.row_tiles * p.column_tiles);
    const i64 row = inside / p.column_tiles * kTile, column = inside % p.column_tiles * kTile;
    Sum<S> sums[kEach][kEach] = {};
    for (i64 depth = 0; depth < p.k; depth += kDepth) {
      read_tile<S>(tile_a, p.a + batch * p.a_batch, row, p.m, p.a_row, depth, p.k, p.a_column);
      read_tile<S>(tile_b, p.b + batch * p.b_batch, column, p.n, p.b_column, depth, p.k, p.b_row);
      __syncthreads();
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        Sum<S> a[kEach], b[kEach];
#pragma unroll
        for (int e = 0; e < kEach; ++e) {
          a[e] = tile_a[d * (kTile + 1) + ty + 16 * e];
          b[e] = tile_b[d * (kTile + 1) + tx + 16 * e];
        }
#pragma unroll
        for (int i = 0; i < kEach; ++i)
#pragma unroll
          for (int j = 0; j < kEach; ++j) sums[i][j] += a[i] * b[j];
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i)
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const i64 r = row + ty + 16 * i, c = column + tx + 16 * j;
        if (r >= p.m || c >= p.n) continue;
        Sum<S> v = p.alpha * sums[i][j];
        if (p.addend) v += p.beta * widen(p.addend[batch * p.addend_batch + r * p.addend_row + c * p.addend_column]);
        p.out[batch * p.out_batch + r * p.out_row + c * p.out_column] = narrow<S>(v);
      }
  }
}

template <class S>
void run(const ProductCall& call) {
  ProductArguments<S> p{};
  p.a = static_cast<const S*>(call.a.data), p.b = static_cast<const S*>(call.b.data);
  p.addend = call.beta.truth() ? static_cast<const S*>(call.addend.data) : nullptr;
  p.out = static_cast<S*>(call.out.data);
  p.m = call.m, p.n = call.n, p.k = call.k;
  p.a_row = call.a.row, p.a_column = call.a.column, p.a_batch = call.a.batch;
  p.b_row = call.b.row, p.b_column = call.b.column, p.b_batch = call.b.batch;
  p.addend_row = call.addend.row, p.addend_column = call.addend.column, p.addend_batch = call.addend.batch;
  p.out_row = call.out.row, p.out_column = call.out.column, p.out_batch = call.out.batch;
  p.row_tiles = (call.m + kTile - 1) / kTile, p.column_tiles = (call.n + kTile - 1) / kTile;
  p.tiles = p.row_tiles * p.column_tiles * call.batch;
  if (p.tiles == 0) return;
  if constexpr (std::is_integral_v<S>)
    p.alpha = static_cast<Sum<S>>(call.alpha.i64()), p.beta = static_cast<Sum<S>>(call.beta.i64());
  else
    p.alpha = Sum<S>(call.alpha.f64()), p.beta = Sum<S>(call.beta.f64());
  launch(product_tiles<S>, dim3(unsigned(p.tiles < 1 << 30 ? p.tiles : 1 << 30)), kThreads, 0, current_stream(), p);
}

}  // namespace

void product(const ProductCall& call) {
  with_dtype(call.dtype, [&](auto s) {
    using S = typename decltype(s)::type;
    if constexpr (!std::is_same_v<S, Bool>) run<S>(call);
  });
}

}  // namespace weft::gpu
