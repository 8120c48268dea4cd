#include "core/ops/random.h"
#include "core/ops/random_draws.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/fault.h"
#include "kernels/cuda/kernels.h"

// Random numbers that need an unknown number of words each, or depend on one another: the CPU's results.
namespace weft::gpu {
namespace {

__global__ void __launch_bounds__(kThreads)
    poisson_each(const double* rates, double* out, i64 n, u64 seed, u64 offset, FaultSite fault) {
  WEFT_FOR_EACH(i, n) {
    double rate = rates[i];
    if (!(rate >= 0 && rate < math::kInf)) {
      fault.report_real(rate);
      rate = 0;
    }
    rng::Stream s(seed, offset + u64(i));
    out[i] = rng::poisson(rate, s);
  }
}

// ---- multinomial

constexpr int kTile = 1024;

struct WeightFaults {
  FaultSite value, none, few;
};

// Running sums of every row, added from left to right, and the checks. `sums` may be null.
__global__ void __launch_bounds__(kThreads)
    running_sums(const double* weights, double* sums, i64 rows, i64 k, i64 needed, WeightFaults faults) {
  WEFT_SHARED(double[kTile], tile);
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const double* w = weights + row * k;
    double total = 0;
    i64 possible = 0;
    for (i64 start = 0; start < k; start += kTile) {
      const int n = k - start < kTile ? int(k - start) : kTile;
      __syncthreads();  // the tile before has been written
      for (int i = int(threadIdx.x); i < n; i += kThreads) {
        double v = w[start + i];
        if (!(v >= 0 && v < math::kInf)) {
          faults.value.report_real(v);
          v = 0;
        }
        tile[i] = v;
      }
      __syncthreads();
      if (threadIdx.x == 0)
        for (int i = 0; i < n; ++i) {
          possible += tile[i] > 0;
          total += tile[i];
          tile[i] = total;
        }
      __syncthreads();
      if (sums)
        for (int i = int(threadIdx.x); i < n; i += kThreads) sums[row * k + start + i] = tile[i];
    }
    if (threadIdx.x != 0) continue;
    if (possible == 0)
      faults.none.report(0);
    else if (possible < needed)
      faults.few.report(possible);
  }
}

/// The first of `n` sums above `limit`, or (`reached`) not below it.
WEFT_FN i64 bound(const double* sums, i64 n, double limit, bool reached) {
  i64 low = 0;
  while (n > 0) {
    const i64 half = n / 2;
    if (reached ? sums[low + half] < limit : !(limit < sums[low + half])) {
      low += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kThreads)
    draw_with_replacement(const double* sums, int64_t* out, i64 total, i64 samples, i64 k, u64 seed, u64 offset) {
  WEFT_FOR_EACH(i, total) {
    const double* row = sums + i / samples * k;
    const double all = row[k - 1], u = rng::Stream(seed, offset + u64(i)).unit() * all;
    i64 at = bound(row, k, u, false);
    // u may round up to the total: then the last category with a weight.
    if (at == k) at = bound(row, k, all, true);
    out[i] = at;
  }
}

// An exponential number for every category; the smallest ones are the draw. Places from k on are never drawn.
struct Draw {
  double key;
  i64 at;
  WEFT_FN bool before(const Draw& o) const { return key < o.key || (key == o.key && at < o.at); }
};

__global__ void __launch_bounds__(kThreads)
    draw_keys(const double* weights, Draw* draws, i64 rows, i64 k, i64 width, u64 seed, u64 offset) {
  WEFT_FOR_EACH(i, rows * width) {
    const i64 row = i / width, at = i - row * width;
    draws[i] = {at < k ? rng::exponential(weights[row * k + at], seed, offset + u64(row * k + at)) : math::kInf, at};
  }
}

WEFT_FN void keep_first(Draw& best, const Draw& other) {
  if (other.before(best)) best = other;
}
__device__ __forceinline__ Draw shuffled(const Draw& d, int half) {
  return {__shfl_xor_sync(0xffffffffu, d.key, half), __shfl_xor_sync(0xffffffffu, d.at, half)};
}

// Few samples: each the smallest after the one before.
__global__ void __launch_bounds__(kThreads)
    pick_smallest(const Draw* draws, int64_t* out, i64 rows, i64 samples, i64 width) {
  WEFT_SHARED(double[32], keys);
  WEFT_SHARED(i64[32], places);
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    Draw last{-1, -1};
    for (i64 s = 0; s < samples; ++s) {
      Draw best{math::kInf, width};
      for (i64 i = threadIdx.x; i < width; i += kThreads) {
        const Draw d = draws[row * width + i];
        if (last.before(d)) keep_first(best, d);
      }
      for (int half = 16; half > 0; half /= 2) keep_first(best, shuffled(best, half));
      __syncthreads();  // the values of the sample before have been read
      if (threadIdx.x % 32 == 0) {
        keys[threadIdx.x / 32] = best.key;
        places[threadIdx.x / 32] = best.at;
      }
      __syncthreads();
      for (int i = 0; i < kThreads / 32; ++i) keep_first(best, {keys[i], places[i]});
      last = best;
      if (threadIdx.x == 0) out[row * samples + s] = best.at;
    }
  }
}

// Many: sorted, in a network of exchanges. `width` is a power of two.
__global__ void __launch_bounds__(kThreads) exchange(Draw* draws, i64 pairs, i64 size, i64 stride) {
  WEFT_FOR_EACH(i, pairs) {
    const i64 a = (i / stride) * 2 * stride + i % stride, b = a + stride;
    const bool up = (a & size) == 0;
    const Draw x = draws[a], y = draws[b];
    if (y.before(x) == up) {
      draws[a] = y;
      draws[b] = x;
    }
  }
}
__global__ void __launch_bounds__(kThreads)
    take_places(const Draw* draws, int64_t* out, i64 rows, i64 samples, i64 width) {
  WEFT_FOR_EACH(i, rows * samples) out[i] = draws[i / samples * width + i % samples].at;
}

void draw_without_replacement(const double* weights, int64_t* out, i64 rows, i64 k, i64 samples,
                              const Generator::State& state) {
  constexpr i64 kFew = 32;
  i64 width = k;
  if (samples > kFew)
    for (width = 1; width < k;) width *= 2;
  const Workspace space(size_t(rows * width) * sizeof(Draw));
  Draw* draws = space.as<Draw>();
  launch(draw_keys, grid_for(rows * width), kThreads, 0, current_stream(), weights, draws, rows, k, width, state.seed,
         state.offset);
  if (samples <= kFew)
    return launch(pick_smallest, dim3(unsigned(rows < 65536 ? rows : 65536)), kThreads, 0, current_stream(), draws, out,
                  rows, samples, width);
  // A row's first exchanges of `width` go upwards in all rows: the bit `width` of a place counts rows.
  for (i64 size = 2; size <= width; size *= 2)
    for (i64 stride = size / 2; stride > 0; stride /= 2)
      launch(exchange, grid_for(rows * width / 2), kThreads, 0, current_stream(), draws, rows * width / 2,
             size == width ? i64(0) : size, stride);
  launch(take_places, grid_for(rows * samples), kThreads, 0, current_stream(), draws, out, rows, samples, width);
}

// ---- randperm: Fisher and Yates, in rounds. Step i exchanges elements i and partner(i); steps are numbered downwards.
// In a round every open step asks for its two elements, the earliest one gets them, and who has both goes on: elements
// meet the same exchanges in the same order as one after the other.

struct Shuffle {
  int64_t* out;
  i64* partner;  // -1: done
  u64* asked;    // round << 40 | step
  i64 n;
  u64 seed, offset;

  WEFT_FN void start(i64 i) const {
    out[i] = i;
    asked[i] = 0;
    partner[i] = i == 0 ? -1 : i64(rng::shuffle_partner(rng::philox(seed, offset + u64(i) / 2), u64(i)));
  }
  static WEFT_FN u64 ticket(i64 i, u64 round) { return round << 40 | u64(i); }
  __device__ __forceinline__ bool ask(i64 i, u64 round) const {
    const i64 p = partner[i];
    if (p < 0) return false;
    atomicMax(reinterpret_cast<unsigned long long*>(asked + i), ticket(i, round));
    atomicMax(reinterpret_cast<unsigned long long*>(asked + p), ticket(i, round));
    return true;
  }
  WEFT_FN void go(i64 i, u64 round) const {
    const i64 p = partner[i];
    if (p < 0 || asked[i] != ticket(i, round) || asked[p] != ticket(i, round)) return;
    const int64_t value = out[i];
    out[i] = out[p];
    out[p] = value;
    partner[i] = -1;
  }
};

__global__ void __launch_bounds__(kThreads) shuffle_start(Shuffle s) { WEFT_FOR_EACH(i, s.n) s.start(i); }
__global__ void __launch_bounds__(kThreads) shuffle_ask(Shuffle s, u64 round) { WEFT_FOR_EACH(i, s.n) s.ask(i, round); }
__global__ void __launch_bounds__(kThreads) shuffle_go(Shuffle s, u64 round) { WEFT_FOR_EACH(i, s.n) s.go(i, round); }
// One block: until all is done.
__global__ void __launch_bounds__(kTile) shuffle_rest(Shuffle s, u64 round) {
  WEFT_SHARED(int, open);
  for (;; ++round) {
    __syncthreads();  // the last round's `open` has been read, its exchanges are done
    if (threadIdx.x == 0) open = 0;
    __syncthreads();
    bool any = false;
    for (i64 i = threadIdx.x; i < s.n; i += blockDim.x) any = s.ask(i, round) || any;
    if (any) open = 1;
    __syncthreads();
    if (open == 0) return;
    for (i64 i = threadIdx.x; i < s.n; i += blockDim.x) s.go(i, round);
  }
}

}  // namespace

void poisson(const OpCall& c) {
  const Generator::State& state = c.as<SeededOp::Attrs>().state;
  const i64 n = c.in[0].numel();
  if (n == 0) return;
  const FaultSite fault = fault_site(detail::Fault::user, "{}: rates must be finite and >= 0, got {}", "poisson");
  launch(poisson_each, grid_for(n), kThreads, 0, current_stream(), static_cast<const double*>(c.in[0].impl()->data),
         static_cast<double*>(c.out[0].impl()->data), n, state.seed, state.offset, fault);
}

void multinomial(const OpCall& c) {
  const auto& a = c.as<SeededOp::Attrs>();
  const i64 k = c.in[0].sizes().back(), samples = c.out[0].sizes().back(), rows = c.in[0].numel() / k;
  if (rows == 0) return;
  const double* weights = static_cast<const double*>(c.in[0].impl()->data);
  int64_t* out = static_cast<int64_t*>(c.out[0].impl()->data);
  const WeightFaults faults{
      fault_site(detail::Fault::user, "{}: weights must be finite and >= 0, got {}", "multinomial"),
      fault_site(detail::Fault::user, "{}: all weights of a row are 0", "multinomial"),
      fault_site(detail::Fault::user,
                 "{}: only {} categories have a weight, too few for {} samples without replacement", "multinomial",
                 samples)};
  const Workspace space(a.replacement ? size_t(rows * k) * sizeof(double) : 1);
  double* sums = a.replacement ? space.as<double>() : nullptr;
  launch(running_sums, dim3(unsigned(rows < 65536 ? rows : 65536)), kThreads, 0, current_stream(), weights, sums, rows,
         k, a.replacement ? i64(1) : samples, faults);
  if (a.replacement)
    launch(draw_with_replacement, grid_for(rows * samples), kThreads, 0, current_stream(), sums, out, rows * samples,
           samples, k, a.state.seed, a.state.offset);
  else
    draw_without_replacement(weights, out, rows, k, samples, a.state);
}

void randperm(const OpCall& c) {
  constexpr i64 kOneBlock = 8192;
  constexpr u64 kRounds = 16;  // most elements are done after a few
  const Generator::State& state = c.as<RandpermOp::Attrs>().state;
  const i64 n = c.out[0].numel();
  if (n == 0) return;
  const Workspace space(size_t(n) * (sizeof(i64) + sizeof(u64)));
  const Shuffle s{
      static_cast<int64_t*>(c.out[0].impl()->data), space.as<i64>(), space.as<u64>() + n, n, state.seed, state.offset};
  launch(shuffle_start, grid_for(n), kThreads, 0, current_stream(), s);
  u64 round = 1;
  for (; n > kOneBlock && round <= kRounds; ++round) {
    launch(shuffle_ask, grid_for(n), kThreads, 0, current_stream(), s, round);
    launch(shuffle_go, grid_for(n), kThreads, 0, current_stream(), s, round);
  }
  launch(shuffle_rest, 1, kTile, 0, current_stream(), s, round);
}

}  // namespace weft::gpu
