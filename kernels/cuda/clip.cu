#include <algorithm>
#include <memory>

#include "core/ops/optimizer_step.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/reduce.cuh"

// Clipping of gradients by their norm: one pass that reads all tensors, one that scales them, and two small kernels
// between. Sums have the order of core/reduction_order.h, each step is rounded where the ops one by one would: the bits
// are theirs.
namespace weft::gpu {
namespace {

// Squares and norms are handed on as doubles, which hold every float.
constexpr int kSmall = 48, kLarge = 512;  // tensors of a launch: arguments have room for 32 KiB
constexpr int kTile = 2048;
constexpr i64 kScaleChunk = 8192;  // elements that a block scales

template <int Capacity>
struct Tensors {
  void* data[Capacity];
  i64 sizes[Capacity];
  i64 squares[Capacity];  // where its blocks' sums begin
  u32 first[Capacity];    // block of threads of the launch
  DType dtypes[Capacity];
  int count = 0;
};

// The last tensor that begins at or before this block of threads.
template <int Capacity>
__device__ __forceinline__ int tensor_of_block(const Tensors<Capacity>& t) {
  int low = 0, high = t.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (t.first[middle] <= blockIdx.x)
      low = middle;
    else
      high = middle;
  }
  return low;
}

template <class S>
struct Groups {
  static constexpr int kCount = Pack<S>::kCount;                 // lanes of the order that a thread has
  static constexpr int kThreadsOf = reduction::kLanes / kCount;  // threads of a block of the order
  static constexpr int kBlocks = kThreads / kThreadsOf;          // blocks of the order in a block of threads
};

// The sums of squares of the blocks of all tensors.
template <class S, int Capacity>
__global__ void __launch_bounds__(kThreads) block_squares(const __grid_constant__ Tensors<Capacity> t, double* out) {
  using G = Groups<S>;
  using T = Wide<S>;
  const int which = tensor_of_block(t);
  const i64 block = i64(blockIdx.x - t.first[which]) * G::kBlocks + threadIdx.x / G::kThreadsOf;
  const i64 n = t.sizes[which], begin = block * reduction::kBlock, left = n - begin;
  const int lane = int(threadIdx.x) % G::kThreadsOf * G::kCount;
  const S* x = static_cast<const S*>(t.data[which]) + begin + lane;
  T sums[G::kCount];
#pragma unroll
  for (int k = 0; k < G::kCount; ++k) sums[k] = T(0);
  if (left >= reduction::kBlock && reinterpret_cast<u64>(x) % 16 == 0) {
#pragma unroll 8
    for (int i = 0; i < int(reduction::kBlock); i += reduction::kLanes) {
      const Pack<S> p = *reinterpret_cast<const Pack<S>*>(x + i);
#pragma unroll
      for (int k = 0; k < G::kCount; ++k) {
        const T v = load<S>(p.v[k]);
        sums[k] = sums[k] + v * v;
      }
    }
  } else {
    for (int i = 0; i < int(reduction::kBlock) && i < left; i += reduction::kLanes)
#pragma unroll
      for (int k = 0; k < G::kCount; ++k)
        if (i + lane + k < left) {
          const T v = load<S>(x[i + k]);
          // The norm of one value is its absolute value.
          sums[k] = n == 1 ? math::abs(v) : sums[k] + v * v;
        }
  }
  // Lanes of one thread are neighbours: the tree's wide steps are between threads, its last ones within.
#pragma unroll
  for (int half = G::kThreadsOf / 2; half > 0; half /= 2)
#pragma unroll
    for (int k = 0; k < G::kCount; ++k) sums[k] = sums[k] + __shfl_down_sync(kWholeWarp, sums[k], half);
#pragma unroll
  for (int half = G::kCount / 2; half > 0; half /= 2)
#pragma unroll
    for (int k = 0; k < half; ++k) sums[k] = sums[k] + sums[k + half];
  if (left > 0 && lane == 0) out[t.squares[which] + block] = double(sums[0]);
}

template <class T>
__device__ __forceinline__ double rounded(T value, DType dtype) {
  return with_dtype(dtype,
                    [&](auto s) { return double(convert_value<T>(convert_value<typename decltype(s)::type>(value))); });
}

// The norm of a tensor from the sums of its blocks, rounded to its dtype.
template <class T>
__device__ double norm_of_blocks(i64 n, DType dtype, const double* squares, double* tile) {
  const i64 blocks = reduction::block_count(n);
  T sum = T(0);
  for (i64 begin = 0; begin < blocks; begin += kTile) {
    const int here = blocks - begin < kTile ? int(blocks - begin) : kTile;
    for (int i = int(threadIdx.x); i < here; i += kThreads) tile[i] = squares[begin + i];
    __syncthreads();
    if (threadIdx.x < 32)
      for (int i = int(threadIdx.x); i < here; i += 32) sum = sum + T(tile[i]);
    __syncthreads();
  }
  if (threadIdx.x >= 32) return 0;
  sum = warp_tree<reduction::Sum<T>>(sum);
  return rounded(n == 1 ? sum : math::sqrt(sum), dtype);
}

template <int Capacity>
__global__ void __launch_bounds__(kThreads)
    tensor_norms(const __grid_constant__ Tensors<Capacity> t, const double* squares, double* norms) {
  WEFT_SHARED(double[kTile], tile);
  const int which = int(blockIdx.x);
  const DType dtype = t.dtypes[which];
  const double* own = squares + t.squares[which];
  const double norm = dtype == DType::f64 ? norm_of_blocks<double>(t.sizes[which], dtype, own, tile)
                                          : norm_of_blocks<float>(t.sizes[which], dtype, own, tile);
  if (threadIdx.x == 0) norms[which] = norm;
}

// The norm of the norms. One warp.
template <class T>
__global__ void norm_of_norms(const double* norms, i64 n, void* out, DType dtype) {
  T sum = T(0);
  const i64 blocks = reduction::block_count(n);
  for (i64 b = 0; b < blocks; ++b) {
    const T block = warp_block<reduction::Sum<T>, T>(reduction::block_size(n, b), [&](i64 i) {
      const T v = T(norms[b * reduction::kBlock + i]);
      return n == 1 ? math::abs(v) : v * v;
    });
    if (blocks == 1 || b % 32 == threadIdx.x) sum = blocks == 1 ? block : sum + block;
  }
  if (blocks > 1) sum = warp_tree<reduction::Sum<T>>(sum);
  if (threadIdx.x == 0) store_as(out, 0, dtype, n == 1 ? sum : math::sqrt(sum));
}

// min(1, max_norm / (total + 1e-6)), rounded to the dtype of `total` after each step.
template <class T>
__device__ __forceinline__ double factor_of(const void* total, DType dtype, double max_norm) {
  const T sum = T(rounded(load_as<T>(total, 0, dtype) + T(1e-6), dtype));
  const T ratio = T(rounded(T(max_norm) / sum, dtype));
  return double(math::min(ratio, T(1)));
}

template <class S, int Capacity>
__global__ void __launch_bounds__(kThreads)
    scale(const __grid_constant__ Tensors<Capacity> t, const void* total, DType dtype, double max_norm) {
  const Wide<S> factor = Wide<S>(dtype == DType::f64 ? factor_of<double>(total, dtype, max_norm)
                                                     : factor_of<float>(total, dtype, max_norm));
  const int which = tensor_of_block(t);
  const i64 begin = i64(blockIdx.x - t.first[which]) * kScaleChunk, left = t.sizes[which] - begin;
  const int n = left < kScaleChunk ? int(left) : int(kScaleChunk);
  S* x = static_cast<S*>(t.data[which]) + begin;
  int done = 0;
  if (reinterpret_cast<u64>(x) % 16 == 0) {
    constexpr int kCount = Pack<S>::kCount;
    Pack<S>* packs = reinterpret_cast<Pack<S>*>(x);
#pragma unroll 4
    for (int i = int(threadIdx.x); i < n / kCount; i += kThreads) {
      Pack<S> p = packs[i];
#pragma unroll
      for (int k = 0; k < kCount; ++k) p.v[k] = store<S>(load<S>(p.v[k]) * factor);
      packs[i] = p;
    }
    done = n / kCount * kCount;
  }
  for (int i = done + int(threadIdx.x); i < n; i += kThreads) x[i] = store<S>(load<S>(x[i]) * factor);
}

/// Calls go(table, blocks) for tables of the tensors that `takes`, each as `blocks_of` many blocks of threads.
template <int Capacity, class Takes, class BlocksOf, class Go>
void in_tables(const Tensor* in, int n, const i64* squares, const Takes& takes, const BlocksOf& blocks_of,
               const Go& go) {
  constexpr i64 kMostBlocks = i64(1) << 30;
  const auto table = std::make_unique<Tensors<Capacity>>();
  i64 blocks = 0;
  const auto flush = [&] {
    if (table->count > 0) go(*table, blocks);
    table->count = 0;
    blocks = 0;
  };
  for (int i = 0; i < n; ++i) {
    if (!takes(in[i])) continue;
    const i64 more = blocks_of(in[i].numel());
    if (table->count == Capacity || (table->count > 0 && blocks + more > kMostBlocks)) flush();
    const int at = table->count++;
    table->data[at] = in[i].impl()->data;
    table->sizes[at] = in[i].numel();
    table->squares[at] = squares ? squares[i] : 0;
    table->first[at] = u32(blocks);
    table->dtypes[at] = in[i].dtype();
    blocks += more;
  }
  flush();
}

constexpr DType kFloating[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

template <int Capacity>
void total_norm_of(const OpCall& c) {
  std::vector<i64> squares;
  i64 total = 0;
  for (int i = 0; i < c.n_in; ++i) {
    squares.push_back(total);
    total += reduction::block_count(c.in[i].numel());
  }
  const Workspace work(size_t(total + c.n_in) * sizeof(double));
  double *norms = work.as<double>(), *sums = norms + c.n_in;
  for (const DType dtype : kFloating)
    with_floating(dtype, [&](auto s) {
      using S = typename decltype(s)::type;
      constexpr i64 kElements = Groups<S>::kBlocks * reduction::kBlock;
      in_tables<Capacity>(
          c.in, c.n_in, squares.data(), [&](const Tensor& t) { return t.dtype() == dtype && t.numel() > 0; },
          [](i64 n) { return (n + kElements - 1) / kElements; },
          [&](const Tensors<Capacity>& t, i64 blocks) {
            launch(block_squares<S, Capacity>, dim3(unsigned(blocks)), kThreads, 0, current_stream(), t, sums);
          });
    });
  double* to = norms;
  in_tables<Capacity>(
      c.in, c.n_in, squares.data(), [](const Tensor&) { return true; }, [](i64) { return 1; },
      [&](const Tensors<Capacity>& t, i64 blocks) {
        launch(tensor_norms<Capacity>, dim3(unsigned(blocks)), kThreads, 0, current_stream(), t, sums, to);
        to += blocks;
      });
  const DType dtype = c.out[0].dtype();
  launch(dtype == DType::f64 ? norm_of_norms<double> : norm_of_norms<float>, 1, 32, 0, current_stream(), norms,
         i64(c.n_in), c.out[0].impl()->data, dtype);
}

template <int Capacity>
void scale_down_by(const OpCall& c) {
  const double max_norm = c.as<ScaleDownOp::Attrs>().max_norm;
  const void* total = c.in[0].impl()->data;
  for (const DType dtype : kFloating)
    with_floating(dtype, [&](auto s) {
      using S = typename decltype(s)::type;
      in_tables<Capacity>(
          c.in + 1, c.n_in - 1, nullptr, [&](const Tensor& t) { return t.dtype() == dtype && t.numel() > 0; },
          [](i64 n) { return (n + kScaleChunk - 1) / kScaleChunk; },
          [&](const Tensors<Capacity>& t, i64 blocks) {
            launch(scale<S, Capacity>, dim3(unsigned(blocks)), kThreads, 0, current_stream(), t, total, c.in[0].dtype(),
                   max_norm);
          });
    });
}

}  // namespace

void total_norm(const OpCall& c) { c.n_in <= kSmall ? total_norm_of<kSmall>(c) : total_norm_of<kLarge>(c); }
void scale_down(const OpCall& c) { c.n_in <= kSmall ? scale_down_by<kSmall>(c) : scale_down_by<kLarge>(c); }

}  // namespace weft::gpu
