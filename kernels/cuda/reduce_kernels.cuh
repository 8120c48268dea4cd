#pragma once

#include "kernels/cuda/reduce_parts.cuh"

// The kernels of all reductions, in the order of core/reduction_order.h. A thread reads V neighbouring elements at
// once: V lanes of a row (32 / V threads make a group, which takes a block of the row), or a lane of V columns.
namespace weft::gpu {

inline constexpr int kReduceThreads = 256;
inline constexpr int kLongRowThreads = 512;

template <class Acc>
struct ReduceArguments {
  const void* in;
  Steps kept, reduced;
  i64 results, n;
  i64 length, blocks;  // of the pieces of a row
  Quotient by_blocks;
  Acc* partial;  // of pieces; null: results are final
  NumberOf<Acc> parameter;
  Ends<Acc> ends;
  DType dtype;
  int group_log;  // threads of a row
  int rows;       // of a thread block
  // Columns: threads next to each other, lanes at a time, units of a thread block.
  int across_log, lanes_log, deep_log;
  i64 width, units;
  Quotient by_tiles;
};

template <class R, class S>
struct RawType {
  using type = S;
};
template <class R>
struct RawType<R, AnyElement> {
  using type = typename R::Value;
};
template <class R, class S>
using Raw = typename RawType<R, S>::type;

template <class R, class S, int V>
__device__ __forceinline__ Elements<Raw<R, S>, V> fetch(const ReduceArguments<typename R::Acc>& a, i64 offset) {
  if constexpr (std::is_same_v<S, AnyElement>)
    return {{load_as<typename R::Value>(a.in, offset, a.dtype)}};
  else
    return *reinterpret_cast<const Elements<S, V>*>(static_cast<const S*>(a.in) + offset);
}

/// Elements of a row that a thread reads at once: 16 bytes, but few halves, or their conversions follow each other.
template <class S>
inline constexpr int kRowElements = is_half_type<S> ? 2 : int(16 / sizeof(S));
/// Loads on their way for each thread.
template <class R, class S, int V>
inline constexpr int kLoads = std::is_same_v<S, AnyElement> || R::kHeavy ? 2
                              : is_half_type<S>&& V < 8                  ? 16
                                                                         : 8;

template <class R, int V, class E>
__device__ __forceinline__ void combine_elements(typename R::Acc* acc, const Elements<E, V>& e, i64 index,
                                                 NumberOf<typename R::Acc> centre,
                                                 NumberOf<typename R::Acc> parameter) {
#pragma unroll
  for (int v = 0; v < V; ++v)
    acc[v] =
        R::Combine::combine(acc[v], R::take(convert_value<typename R::Value>(e.v[v]), index + v, centre, parameter));
}

// The halving tree over `group` threads of V lanes each; the result is in the first one.
template <class R, int V>
__device__ __forceinline__ typename R::Acc group_tree(typename R::Acc* acc, int group) {
  for (int half = group / 2; half > 0; half /= 2) {
#pragma unroll
    for (int v = 0; v < V; ++v) acc[v] = R::Combine::combine(acc[v], shuffle_down(acc[v], half));
  }
#pragma unroll
  for (int half = V / 2; half > 0; half /= 2) {
#pragma unroll
    for (int v = 0; v < half; ++v) acc[v] = R::Combine::combine(acc[v], acc[v + half]);
  }
  return acc[0];
}

// `count` elements of a row by the `group` threads that share `t` = 0, 1, ...; whole warps come here.
template <class R, class S, int V>
__device__ __forceinline__ typename R::Acc reduce_piece(const ReduceArguments<typename R::Acc>& a, i64 row, i64 first,
                                                        int count, int t, int group) {
  using Acc = typename R::Acc;
  using Number = NumberOf<Acc>;
  Acc acc[V];
#pragma unroll
  for (int v = 0; v < V; ++v) acc[v] = R::Combine::identity();
  if (count > 0) {
    const i64 place = a.kept.offset(row);
    Number centre = Number(0);
    if constexpr (R::kCentred) centre = a.ends.centre[row];
    int i = t * V;
    const auto rounds = [&](auto unroll) {
      constexpr int kUnroll = decltype(unroll)::value;
      for (; i + 32 * (kUnroll - 1) < count; i += 32 * kUnroll) {
        Elements<Raw<R, S>, V> e[kUnroll];
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) e[k] = fetch<R, S, V>(a, place + a.reduced.offset(first + i + 32 * k));
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) combine_elements<R, V>(acc, e[k], first + i + 32 * k, centre, a.parameter);
      }
    };
    rounds(std::integral_constant<int, kLoads<R, S, V>>());
    if constexpr (kLoads < R, S, V >> 8) rounds(std::integral_constant<int, 4>());
    rounds(std::integral_constant<int, 1>());
  }
  return group_tree<R, V>(acc, group);
}

__device__ __forceinline__ int piece_size(i64 n, i64 length, i64 first) {
  return int(n - first < length ? n - first : length);
}

// A group for each piece of a row.
template <class R, class S, int V>
__global__ void __launch_bounds__(kReduceThreads)
    reduce_pieces(const __grid_constant__ ReduceArguments<typename R::Acc> a) {
  const int group = 1 << a.group_log, t = threadIdx.x & (group - 1);
  const i64 here = blockDim.x >> a.group_log, units = a.results * a.blocks;
  for (i64 start = blockIdx.x * here; start < units; start += gridDim.x * here) {
    const i64 unit = start + (threadIdx.x >> a.group_log);
    const i64 row = a.blocks == 1 ? unit : a.by_blocks.of(unit), first = (unit - row * a.blocks) * a.length;
    const int count = unit < units ? piece_size(a.n, a.length, first) : 0;
    const auto value = reduce_piece<R, S, V>(a, row, first, count, t, group);
    if (t != 0 || unit >= units) continue;
    if (a.partial != nullptr)
      a.partial[unit] = value;
    else
      put<1>(a.ends, row, &value);
  }
}

// Rows of at most 32 elements: each group takes several, so that enough is read at once.
template <class R, class S, int V>
__global__ void __launch_bounds__(kReduceThreads)
    reduce_short_rows(const __grid_constant__ ReduceArguments<typename R::Acc> a) {
  using Acc = typename R::Acc;
  using Number = NumberOf<Acc>;
  constexpr int kRows = 4;
  const int group = 1 << a.group_log, t = threadIdx.x & (group - 1);
  const i64 here = blockDim.x >> a.group_log;
  for (i64 start = blockIdx.x * here * kRows; start < a.results; start += gridDim.x * here * kRows) {
    const i64 row = start + (threadIdx.x >> a.group_log);
    const int i = t * V;
    Elements<Raw<R, S>, V> e[kRows];
    Number centre[kRows];
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      centre[k] = Number(0);
      if (i >= a.n || row + k * here >= a.results) continue;
      if constexpr (R::kCentred) centre[k] = a.ends.centre[row + k * here];
      e[k] = fetch<R, S, V>(a, a.kept.offset(row + k * here) + a.reduced.offset(i));
    }
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      const bool mine = row + k * here < a.results;
      Acc acc[V];
#pragma unroll
      for (int v = 0; v < V; ++v) acc[v] = R::Combine::identity();
      if (i < a.n && mine) combine_elements<R, V>(acc, e[k], i, centre[k], a.parameter);
      const Acc value = group_tree<R, V>(acc, group);
      if (t == 0 && mine) put<1>(a.ends, row + k * here, &value);
    }
  }
}

// The results of blocks, `n` of them in shared memory, by a warp: in its first thread.
template <class R>
__device__ __forceinline__ typename R::Acc combine_shared(typename R::Acc total, const typename R::Acc* values, int n) {
  for (int j = threadIdx.x % 32; j < n; j += 32) total = R::Combine::combine(total, values[j]);
  return total;
}

// Whole rows of several blocks: a.rows of them at a time by a thread block, or one in rounds.
template <class R, class S, int V>
__global__ void __launch_bounds__(kReduceThreads)
    reduce_rows(const __grid_constant__ ReduceArguments<typename R::Acc> a) {
  using Acc = typename R::Acc;
  constexpr int kMost = kReduceThreads * V / 32, kSlots = kMost < 32 ? 32 : kMost;
  WEFT_SHARED(Acc[kSlots], values);
  const int group = 1 << a.group_log, t = threadIdx.x & (group - 1);
  const int groups = blockDim.x >> a.group_log, slots = groups < 32 ? 32 : groups;
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
  for (i64 start = i64(blockIdx.x) * a.rows; start < a.results; start += i64(gridDim.x) * a.rows) {
    Acc total = R::Combine::identity();
    for (i64 block = 0; block < a.blocks; block += slots) {
      __syncthreads();  // the values of the last round have been read
      for (int s = threadIdx.x >> a.group_log; s < slots; s += groups) {
        const int r = a.rows == 1 ? 0 : int(a.by_blocks.of(s));
        const i64 row = start + r, b = a.rows == 1 ? block + s : s - r * a.blocks;
        const bool mine = r < a.rows && row < a.results && b < a.blocks;
        const i64 first = b * a.length;
        const Acc value = reduce_piece<R, S, V>(a, row, first, mine ? piece_size(a.n, a.length, first) : 0, t, group);
        if (t == 0) values[s] = value;
      }
      __syncthreads();
      if (a.rows == 1 && warp == 0)
        total = combine_shared<R>(total, values, int(a.blocks - block < slots ? a.blocks - block : slots));
    }
    for (int r = warp; r < a.rows; r += warps) {
      if (a.rows > 1) total = combine_shared<R>(R::Combine::identity(), values + r * a.blocks, int(a.blocks));
      const Acc value = group_tree<R, 1>(&total, 32);
      if (threadIdx.x % 32 == 0 && start + r < a.results) put<1>(a.ends, start + r, &value);
    }
  }
}

// One long row of block results that lie side by side: a warp adds a tile while the others fetch the next but one.
template <class R>
__global__ void __launch_bounds__(kLongRowThreads)
    reduce_long_row(const __grid_constant__ ReduceArguments<typename R::Acc> a) {
  using Acc = typename R::Acc;
  // A tile is 120 (or 60, 15) elements for each lane, whole batches of them.
  constexpr int kOthers = kLongRowThreads - 32;
  constexpr int kEach = sizeof(Acc) <= 4 ? 8 : sizeof(Acc) <= 8 ? 4 : 1, kBatch = sizeof(Acc) <= 8 ? 30 : 5;
  constexpr int kTile = kEach * kOthers;
  static_assert(kTile % (32 * kBatch) == 0);
  WEFT_SHARED(Acc[2 * kTile], tiles);
  const Acc* in = static_cast<const Acc*>(a.in) + a.kept.offset(blockIdx.x);
  const int other = int(threadIdx.x) - 32;
  Acc total = R::Combine::identity(), next[kEach];
  auto get = [&](i64 first) {
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const i64 i = first + k * kOthers + other;
      if (i < a.n) next[k] = in[i];
    }
  };
  auto put_tile = [&](i64 first) {
    Acc* tile = tiles + first / kTile % 2 * kTile;
#pragma unroll
    for (int k = 0; k < kEach; ++k)
      if (first + k * kOthers + other < a.n) tile[k * kOthers + other] = next[k];
  };
  if (other >= 0) {
    get(0);
    put_tile(0);
    get(kTile);
  }
  for (i64 first = 0; first < a.n; first += kTile) {
    __syncthreads();
    if (other >= 0) {
      put_tile(first + kTile);
      get(first + 2 * kTile);
      continue;
    }
    const int count = int(a.n - first < kTile ? a.n - first : kTile);
    const Acc* tile = tiles + first / kTile % 2 * kTile;
    int j = threadIdx.x;
    Acc v[kBatch];
    if (j + 32 * (kBatch - 1) < count) {
#pragma unroll
      for (int k = 0; k < kBatch; ++k) v[k] = tile[j + 32 * k];
      for (j += 32 * kBatch; j + 32 * (kBatch - 1) < count; j += 32 * kBatch) {
        Acc w[kBatch];
#pragma unroll
        for (int k = 0; k < kBatch; ++k) w[k] = tile[j + 32 * k];
#pragma unroll
        for (int k = 0; k < kBatch; ++k) total = R::Combine::combine(total, v[k]), v[k] = w[k];
      }
#pragma unroll
      for (int k = 0; k < kBatch; ++k) total = R::Combine::combine(total, v[k]);
    }
    for (; j < count; j += 32) total = R::Combine::combine(total, tile[j]);
  }
  if (other >= 0) return;
  const Acc value = group_tree<R, 1>(&total, 32);
  if (threadIdx.x == 0) put<1>(a.ends, blockIdx.x, &value);
}

/// Lanes that a thread of reduce_columns takes at once: as many as fit into 32 registers.
template <class Acc, int V>
inline constexpr int kMostLanes = sizeof(Acc) * V > 64   ? 1
                                  : sizeof(Acc) * V > 32 ? 2
                                                         : 4;

// Neighbouring columns: V of a thread, L lanes of each. A unit is a tile of columns and a block of their elements.
template <class R, class S, int V, int L>
__global__ void __launch_bounds__(kReduceThreads)
    reduce_columns(const __grid_constant__ ReduceArguments<typename R::Acc> a) {
  using Acc = typename R::Acc;
  using Number = NumberOf<Acc>;
  using Row = Elements<Acc, V>;
  constexpr int kSteps = kLoads<R, S, V> / L < 1 ? 1 : kLoads<R, S, V> / L;
  WEFT_SHARED(Row[kReduceThreads], rows);
  const int across = 1 << a.across_log, lanes = 1 << a.lanes_log, deep = 1 << a.deep_log;
  const int x = threadIdx.x & (across - 1), y = (threadIdx.x >> a.across_log) & (lanes - 1);
  const int z = threadIdx.x >> (a.across_log + a.lanes_log);
  for (i64 start = i64(blockIdx.x) * deep; start < a.units; start += i64(gridDim.x) * deep) {
    const i64 unit = start + z, rest = a.by_tiles.of(unit), tile = unit - rest * a.by_tiles.by;
    const i64 outer = a.by_blocks.of(rest), block = rest - outer * a.blocks;
    const i64 column = ((tile << a.across_log) + x) * V, result = outer * a.width + column;
    const bool mine = unit < a.units && column < a.width;
    Acc acc[L][V];
#pragma unroll
    for (int l = 0; l < L; ++l)
#pragma unroll
      for (int v = 0; v < V; ++v) acc[l][v] = R::Combine::identity();
    if (mine) {
      const i64 first = block * a.length, place = a.kept.offset(result);
      const int count = piece_size(a.n, a.length, first);
      Number centre[V];
#pragma unroll
      for (int v = 0; v < V; ++v) {
        centre[v] = Number(0);
        if constexpr (R::kCentred) centre[v] = a.ends.centre[result + v];
      }
      auto combine = [&](int l, const Elements<Raw<R, S>, V>& e, i64 index) {
#pragma unroll
        for (int v = 0; v < V; ++v)
          acc[l][v] = R::Combine::combine(
              acc[l][v], R::take(convert_value<typename R::Value>(e.v[v]), index, centre[v], a.parameter));
      };
      int i = y;
      for (; i + 32 * (kSteps - 1) + (L - 1) * lanes < count; i += 32 * kSteps) {
        Elements<Raw<R, S>, V> e[kSteps][L];
#pragma unroll
        for (int k = 0; k < kSteps; ++k)
#pragma unroll
          for (int l = 0; l < L; ++l)
            e[k][l] = fetch<R, S, V>(a, place + a.reduced.offset(first + i + 32 * k + l * lanes));
#pragma unroll
        for (int k = 0; k < kSteps; ++k)
#pragma unroll
          for (int l = 0; l < L; ++l) combine(l, e[k][l], first + i + 32 * k + l * lanes);
      }
      for (; i < count; i += 32)
#pragma unroll
        for (int l = 0; l < L; ++l)
          if (i + l * lanes < count)
            combine(l, fetch<R, S, V>(a, place + a.reduced.offset(first + i + l * lanes)), first + i + l * lanes);
    }
#pragma unroll
    for (int half = L / 2; half > 0; half /= 2)
#pragma unroll
      for (int l = 0; l < half; ++l)
#pragma unroll
        for (int v = 0; v < V; ++v) acc[l][v] = R::Combine::combine(acc[l][v], acc[l + half][v]);
    if (lanes > 1) {
      __syncthreads();  // the rows of the last unit have been read
#pragma unroll
      for (int v = 0; v < V; ++v) rows[threadIdx.x].v[v] = acc[0][v];
      for (int half = lanes / 2; half > 0; half /= 2) {
        __syncthreads();
        if (y >= half) continue;
        const Row other = rows[threadIdx.x + (half << a.across_log)];
#pragma unroll
        for (int v = 0; v < V; ++v) {
          acc[0][v] = R::Combine::combine(acc[0][v], other.v[v]);
          rows[threadIdx.x].v[v] = acc[0][v];
        }
      }
    }
    if (y != 0 || !mine) continue;
    if (a.partial != nullptr) {
#pragma unroll
      for (int v = 0; v < V; ++v) a.partial[block * a.results + result + v] = acc[0][v];
    } else {
      put<V>(a.ends, result, acc[0]);
    }
  }
}

}  // namespace weft::gpu
