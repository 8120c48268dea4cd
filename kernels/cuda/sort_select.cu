#include "kernels/cuda/sort_select.h"

#include "kernels/cuda/sort.cuh"

// The first k of a long line by one block: the k-th key is found digit by digit (among equal keys, the place too), what
// does not come after it is collected and sorted in shared memory.
namespace weft::gpu {
namespace {

constexpr int kSelectThreads = 1024, kDigit = 11, kBins = 1 << kDigit;

struct Bin {
  u32 digit, before, count;
};

// The bin in which the `wanted`-th element lies; `bins` has been filled. Every thread gets it.
__device__ __forceinline__ Bin find_bin(const u32* bins, u32* sums, Bin* found, u32 wanted) {
  constexpr int kOwn = kBins / kSelectThreads;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  u32 own[kOwn], total = 0;
  for (int k = 0; k < kOwn; ++k) total += own[k] = bins[threadIdx.x * kOwn + k];
  u32 sum = total;
  for (int step = 1; step < 32; step *= 2) {
    const u32 other = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  u32 of_warps = sums[lane];
  for (int step = 1; step < 32; step *= 2) {
    const u32 other = __shfl_up_sync(0xffffffffu, of_warps, step);
    if (lane >= step) of_warps += other;
  }
  const u32 before_warp = __shfl_sync(0xffffffffu, of_warps, warp == 0 ? 0 : warp - 1);
  u32 before = (warp == 0 ? 0 : before_warp) + sum - total;
  for (int k = 0; k < kOwn; ++k) {
    if (before < wanted && wanted <= before + own[k]) *found = {threadIdx.x * kOwn + k, before, own[k]};
    before += own[k];
  }
  __syncthreads();
  return *found;
}

// Numbers of `bits` bits, as far as they are known: equal to `value` down to bit `shift`.
template <class K>
struct Prefix {
  K value = 0;
  int shift;
};

// Narrows `prefix` until it holds exactly the `wanted` least of the elements it names, or is a whole number. Gives how
// many elements it names then; `wanted` becomes how many of them are wanted. `each(f)` calls f(number) for all
// elements.
template <class K, class Each>
__device__ __forceinline__ u32 narrow_down(Prefix<K>& prefix, u32& wanted, u32* bins, u32* sums, Bin* found,
                                           Each each) {
  u32 count = 0;
  while (prefix.shift > 0) {
    const int above = prefix.shift, width = above < kDigit ? above : kDigit, shift = above - width;
    __syncthreads();
    for (int b = threadIdx.x; b < kBins; b += kSelectThreads) bins[b] = 0;
    __syncthreads();
    each([&](K number) {
      // Two steps: a shift by all bits is undefined.
      if (number >> (above - 1) >> 1 == prefix.value >> (above - 1) >> 1)
        atomicAdd(&bins[u32(number >> shift) & ((1u << width) - 1)], 1u);
    });
    __syncthreads();
    const Bin bin = find_bin(bins, sums, found, wanted);
    prefix.value |= K(bin.digit) << shift;
    prefix.shift = shift;
    wanted -= bin.before;
    count = bin.count;
    if (count == wanted) break;
  }
  return count;
}

template <class S>
__global__ void __launch_bounds__(kSelectThreads) select_first(SortLines a, u32 width, bool descending) {
  using E = Placed<S>;
  using K = SortKey<S>;
  WEFT_DYNAMIC_SHARED(E, line);
  WEFT_SHARED(u32[kBins], bins);
  WEFT_SHARED(u32[32], sums);
  WEFT_SHARED(Bin[1], found);
  WEFT_SHARED(u32[1], taken);
  const u32 n = u32(a.n);
  for (i64 row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const S* x = static_cast<const S*>(a.x) + row * a.n;
    u32 wanted = u32(a.k);
    Prefix<K> key{0, kKeyBits<S>};
    const u32 alike = narrow_down(key, wanted, bins, sums, found, [&](auto f) {
      for (u32 i = threadIdx.x; i < n; i += kSelectThreads) f(sort_key(x[i], descending));
    });
    Prefix<u32> place{0, 32};
    const bool by_place = alike != wanted;
    if (by_place)
      narrow_down(place, wanted, bins, sums, found, [&](auto f) {
        for (u32 i = threadIdx.x; i < n; i += kSelectThreads)
          if (sort_key(x[i], descending) == key.value) f(i);
      });
    for (u32 i = threadIdx.x; i < width; i += kSelectThreads) line[i] = placed<S>(~K(0), ~u32(0));
    if (threadIdx.x == 0) taken[0] = 0;
    __syncthreads();
    for (u32 i = threadIdx.x; i < n; i += kSelectThreads) {
      const K own = sort_key(x[i], descending), known = own >> key.shift, last = key.value >> key.shift;
      if (known < last || (known == last && (!by_place || i >> place.shift <= place.value >> place.shift)))
        line[atomicAdd(&taken[0], 1u)] = placed<S>(own, i);
    }
    bitonic(line, width, width);
    for (u32 i = threadIdx.x; i < u32(a.k); i += kSelectThreads) a.write<S>(row, i, line[i].place());
    __syncthreads();
  }
}

}  // namespace

bool select_lines(const SortLines& a, DType dtype, bool descending) {
  constexpr i64 kMost = 1024, kLong = 1 << 17, kManyRows = 32;
  if (a.k > kMost || a.k == a.n || a.n >= i64{1} << 31 || (a.n > kLong && a.rows < kManyRows)) return false;
  u32 width = 1;
  while (width < a.k) width *= 2;
  with_dtype(dtype, [&](auto s) {
    using S = typename decltype(s)::type;
    launch(select_first<S>, dim3(unsigned(std::min<i64>(a.rows, 1 << 16))), kSelectThreads, width * sizeof(Placed<S>),
           current_stream(), a, width, descending);
  });
  return true;
}

}  // namespace weft::gpu
