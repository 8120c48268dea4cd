#pragma once

#include "core/tensor.h"
#include "core/thread_state.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/reduce.cuh"

// Rows of floats, in the order of core/reduction_order.h, three ways: held in the registers of a team of threads (read
// once), by a whole thread block (long rows, read again through the caches), and in columns where the elements of a row
// do not lie side by side.
namespace weft::gpu {

/// A contiguous tensor around one of its dimensions.
struct RowShape {
  i64 outer = 1, n = 1, inner = 1;
  RowShape(i64 rows, i64 length) : outer(rows), n(length) {}
  RowShape(const Dims& sizes, i64 dim) {
    for (int d = 0; d < sizes.size(); ++d) (d < dim ? outer : d == dim ? n : inner) *= sizes[d];
  }
  i64 rows() const { return outer * inner; }
};

inline Tensor dense(const Tensor& t) {
  if (!t.defined() || t.impl()->contiguous) return t;
  NoGrad guard;
  return t.contiguous();
}
inline Tensor dense_as(const Tensor& t, DType dtype) {
  if (!t.defined() || (t.impl()->contiguous && t.dtype() == dtype)) return t;
  NoGrad guard;
  return dense(t.detach().to(dtype));
}

// ---- arithmetic

/// The larger; NaN is left out.
WEFT_FN float larger(float a, float b) {
#if defined(__CUDA_ARCH__)
  return ::fmaxf(a, b);
#else
  return a > b || b != b ? a : b;
#endif
}
WEFT_FN double larger(double a, double b) { return a > b || b != b ? a : b; }

template <class T>
struct Largest {
  WEFT_FN static T identity() { return reduction::lowest(T(0)); }
  WEFT_FN static T combine(T a, T b) { return larger(a, b); }
};

/// math::exp(x) for x <= 40 and NaN, without a branch: 2^(k + 64), then 2^-64, rounds where the result is a denormal.
WEFT_FN float weight_of(float x) {
  x = x < -104.0f ? -104.0f : x;
  float t;
  const float p = math::exp_reduced(x, t);
  return (1.0f + p) * math::power_of_two(t + 64.0f) * 0x1p-64f;
}
WEFT_FN double weight_of(double x) { return math::exp(x); }

/// Many x / divisor, 0 <= x <= 1 <= divisor <= 2^30 or NaN, without a branch.
template <class T>
struct Quotient {
  T divisor;
  WEFT_FN explicit Quotient(T d) : divisor(d) {}
  WEFT_FN T operator()(T x) const { return x / divisor; }
  WEFT_FN bool exact() const { return true; }
};
/// Rounded correctly, unless the result is a denormal: then exact() is false at the end, and the caller divides.
template <>
struct Quotient<float> {
  float divisor, inverse;
  u32 least = 0xffffffffu;  // of the bits of all 2^96 x / divisor, 0 left out
  WEFT_FN explicit Quotient(float d) : divisor(d), inverse(1.0f / d) {}
  WEFT_FN float operator()(float x) {
    x = x * 0x1p96f;  // so that the remainders below are exact
    float q = x * inverse;
    q = math::fma(math::fma(-q, divisor, x), inverse, q);
    q = math::fma(math::fma(-q, divisor, x), inverse, q);
    const u32 b = math::bits(q) - 1u;
    least = b < least ? b : least;
    return q * 0x1p-96f;
  }
  WEFT_FN bool exact() const { return least >= math::bits(0x1p-30f) - 1u; }
};

// ---- rows in registers

/// `kWide` neighbouring elements a thread, 32 / kWide threads for every block of 1024 elements; a thread holds up to
/// kSteps times kWide of them. kMulti: a thread block holds one row of several such blocks.
template <int Width, int Steps, bool Multi>
struct RowConfig {
  static constexpr int kWide = Width, kSteps = Steps, kGroup = 32 / Width;
  static constexpr bool kMulti = Multi;
};

inline constexpr int kHeldThreads = 512;  // of a thread block, at most
inline constexpr int kHeldBlocks = 64;    // blocks of 1024 that a thread block can hold

template <class S, int Width>
struct alignas(sizeof(S) * Width) Few {
  S v[Width];
};

/// Where a thread stands.
template <class Config>
struct RowPlace {
  i64 row;
  int first, count, lane;  // of its block of the row: first element, elements (<= 0: none); its place in the group
  __device__ __forceinline__ RowPlace(i64 n) {
    lane = threadIdx.x % Config::kGroup;
    if constexpr (Config::kMulti) {
      row = blockIdx.x;
      first = int(threadIdx.x / Config::kGroup) * int(reduction::kBlock);
    } else {
      row = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / Config::kGroup;
      first = 0;
    }
    const i64 rest = n - first;
    count = int(rest < reduction::kBlock ? rest : reduction::kBlock);
  }
  /// f(step, element of the row) for each vector of the thread.
  template <class F>
  __device__ __forceinline__ void each(F f) const {
#pragma unroll
    for (int s = 0; s < Config::kSteps; ++s) {
      const int i = s * 32 + lane * Config::kWide;
      if (i < count) f(s, first + i);
    }
  }
};

/// Width elements of S as they are kept in registers: halves stay packed.
template <class S, int Width>
struct Packed {
  Few<S, Width> bits;
  WEFT_FN S get(int k) const { return bits.v[k]; }
  WEFT_FN static Packed of(S value) {
    Packed p;
    for (int k = 0; k < Width; ++k) p.bits.v[k] = value;
    return p;
  }
};
template <class S, int Width>
requires is_half_type<S>
struct Packed<S, Width> {
  using Bits = std::conditional_t<Width == 4, u64, std::conditional_t<Width == 2, u32, uint16_t>>;
  Bits bits;
  WEFT_FN S get(int k) const { return __builtin_bit_cast(S, uint16_t(bits >> (16 * k))); }
  WEFT_FN static Packed of(S value) {
    return {Bits(Bits(0x0001000100010001ull) * __builtin_bit_cast(uint16_t, value))};
  }
};

/// Elements of a row, each thread its own.
template <class Config, class S>
struct HeldRow {
  Packed<S, Config::kWide> v[Config::kSteps];

  __device__ __forceinline__ Wide<S> at(int s, int k) const { return load(v[s].get(k)); }
  /// Elements beyond the row are `rest`.
  __device__ __forceinline__ void read(const RowPlace<Config>& place, const S* row, Wide<S> rest) {
#pragma unroll
    for (int s = 0; s < Config::kSteps; ++s) v[s] = Packed<S, Config::kWide>::of(store<S>(rest));
    place.each([&](int s, int i) { v[s] = *reinterpret_cast<const Packed<S, Config::kWide>*>(row + i); });
  }
};
/// row[i] = f(step, k, i) for the elements of a thread.
template <class Config, class S, class F>
__device__ __forceinline__ void write_row(const RowPlace<Config>& place, S* row, F f) {
  place.each([&](int s, int i) {
    Few<S, Config::kWide> few;
#pragma unroll
    for (int k = 0; k < Config::kWide; ++k) few.v[k] = store<S>(f(s, k, i + k));
    *reinterpret_cast<Few<S, Config::kWide>*>(row + i) = few;
  });
}
/// The lanes of the order over f(step, k); what f gives for elements beyond the row must change nothing.
template <class Config, class Combine, class T, class F>
__device__ __forceinline__ void row_lanes(T (&lanes)[Config::kWide], F f) {
#pragma unroll
  for (int k = 0; k < Config::kWide; ++k) lanes[k] = Combine::identity();
#pragma unroll
  for (int s = 0; s < Config::kSteps; ++s)
#pragma unroll
    for (int k = 0; k < Config::kWide; ++k) lanes[k] = Combine::combine(lanes[k], f(s, k));
}

/// The result for a row, given to all its threads. `shared`: kHeldBlocks values, used by one call only (kMulti).
template <class Config, class Combine, class T>
__device__ __forceinline__ T row_total(T (&lanes)[Config::kWide], T* shared, int blocks) {
#pragma unroll
  for (int half = Config::kGroup / 2; half > 0; half /= 2)
#pragma unroll
    for (int k = 0; k < Config::kWide; ++k)
      lanes[k] = Combine::combine(lanes[k], __shfl_xor_sync(kWholeWarp, lanes[k], half));
#pragma unroll
  for (int half = Config::kWide / 2; half > 0; half /= 2)
#pragma unroll
    for (int k = 0; k < half; ++k) lanes[k] = Combine::combine(lanes[k], lanes[k + half]);
  T total = lanes[0];
  if constexpr (Config::kMulti) {
    const int group = threadIdx.x / Config::kGroup;
    if (threadIdx.x % Config::kGroup == 0 && group < blocks) shared[group] = total;
    __syncthreads();
    total = Combine::identity();
    for (int b = threadIdx.x % 32; b < blocks; b += 32) total = Combine::combine(total, shared[b]);
#pragma unroll
    for (int half = 16; half > 0; half /= 2) total = Combine::combine(total, __shfl_xor_sync(kWholeWarp, total, half));
  }
  return total;
}
template <class Config, class Combine, class T, class F>
__device__ __forceinline__ T row_total_of(T* shared, int blocks, F f) {
  T lanes[Config::kWide];
  row_lanes<Config, Combine>(lanes, f);
  return row_total<Config, Combine>(lanes, shared, blocks);
}

/// The largest row that registers hold where a thread reads `width` elements at once.
inline i64 held_limit(int width) { return i64(kHeldThreads) * width / 32 * reduction::kBlock; }

/// Each configuration costs nvcc seconds: all of them, without four elements a thread in rows of 257 to 512, or without
/// these and pairs.
enum class RowKinds : uint8_t { all, no_quads_beyond_256, no_pairs };

/// f(RowConfig, grid, block) for rows of n elements of S; false: they are too long. `aligned`: all rows start where
/// four (two, for long rows) elements can be read at once. Words: 32-bit values that a kernel keeps per f32 element.
template <class S, int Words, RowKinds Kinds = RowKinds::all, class F>
bool with_row_config(i64 rows, i64 n, bool aligned, F&& f) {
  const auto start = [&](auto config) {
    using Config = decltype(config);
    if constexpr (Config::kMulti) {
      const i64 threads = reduction::block_count(n) * Config::kGroup;
      f(config, dim3(unsigned(rows)), dim3(unsigned((threads + 31) / 32 * 32)));
    } else {
      constexpr i64 kRows = kThreads / Config::kGroup;
      f(config, dim3(unsigned((rows + kRows - 1) / kRows)), dim3(kThreads));
    }
    return true;
  };
  if constexpr (sizeof(S) < 8) {
    constexpr bool kMany = sizeof(S) < 4 || Words == 1, kQuads = kMany && Kinds == RowKinds::all;
    if (aligned && n % 4 == 0 && n <= (kQuads ? 512 : 256)) {
      if (n <= 64) return start(RowConfig<4, 2, false>{});
      if (n <= 256) return start(RowConfig<4, 8, false>{});
      if constexpr (kQuads) return start(RowConfig<4, 16, false>{});
    }
    if constexpr (kMany && Kinds != RowKinds::no_pairs)
      if (aligned && n % 2 == 0 && n > 64) {
        if (n <= reduction::kBlock) return start(RowConfig<2, 32, false>{});
        return n <= held_limit(2) && start(RowConfig<2, 32, true>{});
      }
  }
  if (n <= 64) return start(RowConfig<1, 2, false>{});
  if (n <= reduction::kBlock) return start(RowConfig<1, 32, false>{});
  return n <= held_limit(1) && start(RowConfig<1, 32, true>{});
}

// ---- rows by whole thread blocks

inline constexpr int kLongThreads = 512;

/// The result of any order over a row, for all threads. `shared`: 32 values.
template <class Combine, class T, class Load>
__device__ __forceinline__ T block_unordered(i64 n, T* shared, Load load) {
  T value = Combine::identity();
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) value = Combine::combine(value, load(i));
  value = warp_tree<Combine>(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = threadIdx.x % 32 < blockDim.x / 32 ? shared[threadIdx.x % 32] : Combine::identity();
  return warp_tree<Combine>(value);
}

// ---- columns: rows whose elements lie `inner` apart, 32 of them by 1024 threads

inline constexpr int kColumnThreads = 1024;

template <class T>
struct ColumnShared {
  T tile[32 * 33];
  T result[32];
};

struct ColumnPlace {
  i64 row, base;  // base: of the row's first element
  int lane;
  bool inside;
  __device__ __forceinline__ ColumnPlace(i64 rows, i64 n, i64 inner) {
    row = i64(blockIdx.x) * 32 + threadIdx.x % 32;
    lane = threadIdx.x / 32;
    inside = row < rows;
    base = row / inner * n * inner + row % inner;
  }
};
inline dim3 column_grid(i64 rows) { return dim3(unsigned((rows + 31) / 32)); }

/// A row's result for all threads of its column. load(i) is called by threads inside only.
template <class Combine, class T, class Load>
__device__ __forceinline__ T column_total(const ColumnPlace& at, i64 n, ColumnShared<T>& shared, Load load) {
  const int x = threadIdx.x % 32;
  T total = Combine::identity();
  const i64 blocks = reduction::block_count(n);
  for (i64 b = 0; b < blocks; ++b) {
    const i64 end = n < (b + 1) * reduction::kBlock ? n : (b + 1) * reduction::kBlock;
    T value = Combine::identity();
    if (at.inside)
      for (i64 i = b * reduction::kBlock + at.lane; i < end; i += 32) value = Combine::combine(value, load(i));
    __syncthreads();  // the tile before has been read
    shared.tile[at.lane * 33 + x] = value;
    __syncthreads();
    value = warp_tree<Combine>(shared.tile[x * 33 + at.lane]);  // a warp now has a column
    if (blocks == 1)
      total = value;
    else if (x == b % 32)
      total = Combine::combine(total, value);
  }
  if (blocks > 1) total = warp_tree<Combine>(total);
  if (x == 0) shared.result[at.lane] = total;
  __syncthreads();
  return shared.result[x];
}

}  // namespace weft::gpu
