#include "core/ops/index.h"

#include "kernels/cuda/allocator.h"
#include "kernels/cuda/index_ref.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/walk.cuh"

namespace weft::gpu {
namespace {

struct LinearArguments {
  Walk<2> walk;
  i64* out;
  const void* index;
  DType dtype;
  i64 extent;
  bool wrap, first;
  FaultSite fault;
};

WEFT_FN i64 read_integer(const void* data, i64 at, DType dtype) {
  switch (dtype) {
    case DType::i64:
      return static_cast<const int64_t*>(data)[at];
    case DType::i32:
      return static_cast<const int32_t*>(data)[at];
    case DType::i16:
      return static_cast<const int16_t*>(data)[at];
    default:
      return static_cast<const int8_t*>(data)[at];
  }
}

__global__ void __launch_bounds__(kThreads) number_places(LinearArguments a) {
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.walk.n; e += gridDim.x * blockDim.x) {
    i64 o[2];
    a.walk.offsets(e, o);
    i64 i = read_integer(a.index, o[1], a.dtype);
    if (i >= a.extent || i < (a.wrap ? -a.extent : 0)) {
      a.fault.report(i);
      i = 0;
    }
    i = i < 0 ? i + a.extent : i;
    a.out[o[0]] = a.first ? i : a.out[o[0]] * a.extent + i;
  }
}

}  // namespace

void linear_index(const OpCall& c) {
  const auto& a = c.as<LinearIndexOp::Attrs>();
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  for (int t = 0; t < c.n_in; ++t) {
    const FaultSite fault = fault_site(detail::Fault::index, "{}: index {} out of range for dim {} of size {}",
                                       a.caller, a.dim + t, a.extents[t]);
    const DType dtype = c.in[t].dtype();
    in_parts(nest_of(out, {c.in[t]}), [&](const LoopNest& nest) {
      const LinearArguments arguments{Walk<2>(nest),
                                      static_cast<i64*>(nest.operands[0].data),
                                      nest.operands[1].data,
                                      dtype,
                                      a.extents[t],
                                      a.wrap,
                                      t == 0,
                                      fault};
      launch(number_places, grid_for(nest.numel), kThreads, 0, current_stream(), arguments);
    });
  }
}

// ---- nonzero: one count for each piece (the elements of a warp), their sums, then every warp writes its places

namespace {

struct Pieces {
  i64 n, size;
  i64 count() const { return (n + size - 1) / size; }
  explicit Pieces(i64 elements) : n(elements), size(1024) {
    while (size < 8192 && count() > 1 << 14) size *= 2;
  }
};

template <class S>
WEFT_FN bool is_set(S x) {
  if constexpr (std::is_same_v<S, Bool>)
    return x.v != 0;
  else
    return load<S>(x) != Wide<S>(0);
}

template <class S>
__device__ __forceinline__ int count_of(const S* x, i64 begin, i64 end, bool packs) {
  const int lane = threadIdx.x % 32;
  int sum = 0;
  if (packs) {
    constexpr int kCount = Pack<S>::kCount;
    const i64 whole = begin + (end - begin) / kCount * kCount;
    for (i64 i = begin + lane * kCount; i < whole; i += 32 * kCount) {
      const Pack<S> pack = *reinterpret_cast<const Pack<S>*>(x + i);
#pragma unroll
      for (int k = 0; k < kCount; ++k) sum += is_set(pack.v[k]);
    }
    begin = whole;
  }
  for (i64 i = begin + lane; i < end; i += 32) sum += is_set(x[i]);
  for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
  return sum;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    count_pieces(const S* x, i64 n, i64 size, bool packs, i64* counts, unsigned long long* total) {
  const i64 pieces = (n + size - 1) / size;
  i64 sum = 0;
  for (i64 p = (i64(blockIdx.x) * kThreads + threadIdx.x) / 32; p < pieces; p += i64(gridDim.x) * (kThreads / 32)) {
    const i64 begin = p * size, end = begin + size < n ? begin + size : n;
    const int count = count_of(x, begin, end, packs);
    sum += count;
    if (counts != nullptr && threadIdx.x % 32 == 0) counts[p] = count;
  }
  if (total != nullptr && threadIdx.x % 32 == 0 && sum != 0) atomicAdd(total, static_cast<unsigned long long>(sum));
}

// counts -> the sums before each of them; one block.
constexpr int kScanThreads = 1024;
__global__ void __launch_bounds__(kScanThreads) sum_before(i64* counts, i64 n) {
  WEFT_SHARED(i64[32], sums);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  i64 before = 0;
  for (i64 base = 0; base < n; base += kScanThreads) {
    const i64 i = base + threadIdx.x;
    const i64 own = i < n ? counts[i] : 0;
    i64 sum = own;
    for (int step = 1; step < 32; step *= 2) {
      const i64 other = __shfl_up_sync(0xffffffffu, sum, step);
      if (lane >= step) sum += other;
    }
    __syncthreads();  // the sums of the round before have been read
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    i64 of_warps = sums[lane];
    for (int step = 1; step < 32; step *= 2) {
      const i64 other = __shfl_up_sync(0xffffffffu, of_warps, step);
      if (lane >= step) of_warps += other;
    }
    const i64 of_warps_before = __shfl_sync(0xffffffffu, of_warps, warp == 0 ? 0 : warp - 1);
    if (i < n) counts[i] = before + (warp == 0 ? 0 : of_warps_before) + sum - own;
    before += __shfl_sync(0xffffffffu, of_warps, 31);
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads) write_places(const S* x, i64 n, i64 size, const i64* before, i64* out) {
  const i64 pieces = (n + size - 1) / size;
  const int lane = threadIdx.x % 32;
  for (i64 p = (i64(blockIdx.x) * kThreads + threadIdx.x) / 32; p < pieces; p += i64(gridDim.x) * (kThreads / 32)) {
    const i64 begin = p * size, end = begin + size < n ? begin + size : n;
    i64 to = before[p];
    for (i64 base = begin; base < end; base += 32 * kUnroll) {
      bool set[kUnroll];
#pragma unroll
      for (int k = 0; k < kUnroll; ++k) {
        const i64 i = base + k * 32 + lane;
        set[k] = i < end && is_set(x[i]);
      }
#pragma unroll
      for (int k = 0; k < kUnroll; ++k) {
        const unsigned lanes = __ballot_sync(0xffffffffu, set[k]);
        if (set[k]) out[to + __popc(lanes & ((1u << lane) - 1))] = base + k * 32 + lane;
        to += __popc(lanes);
      }
    }
  }
}

template <class S>
void count(const Tensor& x, const Pieces& pieces, i64* counts, void* total) {
  const S* data = static_cast<const S*>(x.impl()->data);
  launch(count_pieces<S>, grid_for(pieces.count() * 32), kThreads, 0, current_stream(), data, pieces.n, pieces.size,
         aligned16(data), counts, static_cast<unsigned long long*>(total));
}

}  // namespace

void count_nonzero_elements(const OpCall& c) {
  const Tensor& x = c.in[0];
  void* total = c.out[0].impl()->data;
  check(cudaMemsetAsync(total, 0, sizeof(i64), current_stream()), "nonzero");
  if (x.numel() == 0) return;
  with_dtype(x.dtype(), [&](auto s) { count<typename decltype(s)::type>(x, Pieces(x.numel()), nullptr, total); });
}

void nonzero(const OpCall& c) {
  const Tensor &x = c.in[0], &out = c.out[0];
  if (out.numel() == 0) return;
  const Pieces pieces(x.numel());
  const Workspace counts(size_t(pieces.count()) * sizeof(i64));
  with_dtype(x.dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    count<S>(x, pieces, counts.as<i64>(), nullptr);
    launch(sum_before, 1, kScanThreads, 0, current_stream(), counts.as<i64>(), pieces.count());
    launch(write_places<S>, grid_for(pieces.count() * 32), kThreads, 0, current_stream(),
           static_cast<const S*>(x.impl()->data), pieces.n, pieces.size, counts.as<i64>(),
           static_cast<i64*>(out.impl()->data));
  });
}

}  // namespace weft::gpu
