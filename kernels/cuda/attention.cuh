#pragma once

#include "core/reduction_order.h"
#include "kernels/cuda/tiles.cuh"

// Attention without the matrix of scores in memory: tiles of it live in registers and shared memory. Scores are in
// units of log2. Every block owns its results, so that the order of all sums is fixed.
namespace weft::gpu::flash {

inline constexpr double kLog2E = 1.4426950408889634074, kLn2 = 0.69314718055994530942;

template <class S>
struct Operand {
  S* data;
  i64 batch, head, time, width;  // strides in elements
  WEFT_FN S* matrix(i64 b, i64 h) const { return data + b * batch + h * head; }
};

template <class S>
struct Arguments {
  using T = Wide<S>;
  Operand<S> q, k, v, o, grad_o, grad_q, grad_k, grad_v;
  T* lse;
  T* delta;  // sum(grad_o * o) of each row
  const void* mask;
  i64 mask_strides[4];
  bool bool_mask, causal;
  i64 heads, kv_heads, group, tq, tk, d, dv;
  T log2_scale, scale;
  u32 slices;  // of the columns that a block does not hold at once
};

template <class T>
WEFT_FN T minus_infinity() {
  return reduction::lowest(T(0));
}

// Rows [first, first + kTile) of a matrix, columns [column, column + kDepth), transposed into `to`; 0 outside.
template <class S, class T>
__device__ __forceinline__ void load_rows(typename Tiles<T>::Chunk& to, const S* from, i64 time, i64 width, i64 first,
                                          i64 rows, i64 column, i64 columns) {
  const int c = threadIdx.x % 16, r = threadIdx.x / 16;
#pragma unroll
  for (int i = 0; i < Tiles<T>::kPerThread; ++i) {
    const i64 row = first + r + 16 * i;
    to.v[c][r + 16 * i] = row < rows && column + c < columns ? load<S>(from[row * time + (column + c) * width]) : T(0);
  }
}

// Rows [first, first + kDepth), columns [column, column + kTile); 0 outside.
template <class S, class T>
__device__ __forceinline__ void load_columns(typename Tiles<T>::Chunk& to, const S* from, i64 time, i64 width,
                                             i64 first, i64 rows, i64 column, i64 columns) {
  constexpr int kTile = Tiles<T>::kTile;
  const int c = threadIdx.x % kTile, r = threadIdx.x / kTile;
#pragma unroll
  for (int i = 0; i < Tiles<T>::kPerThread; ++i) {
    const int k = r + kThreads / kTile * i;
    to.v[k][c] =
        first + k < rows && column + c < columns ? load<S>(from[(first + k) * time + (column + c) * width]) : T(0);
  }
}

// What the threads of a block share.
template <class T>
struct Room {
  typename Tiles<T>::Chunk a, b;
  alignas(16) T p[Tiles<T>::kTile][Tiles<T>::kRow];  // a tile of scores, [column][row]
};

// square = A B^T for rows [a_first, ...) of A and [b_first, ...) of B, over `depth` columns.
template <class S, class T>
__device__ __forceinline__ void dot_rows(Room<T>& room, typename Tiles<T>::Square& square, const S* a, i64 a_time,
                                         i64 a_width, i64 a_first, i64 a_rows, const S* b, i64 b_time, i64 b_width,
                                         i64 b_first, i64 b_rows, i64 depth) {
  clear<T>(square);
  for (i64 k = 0; k < depth; k += Tiles<T>::kDepth) {
    __syncthreads();
    load_rows<S, T>(room.a, a, a_time, a_width, a_first, a_rows, k, depth);
    load_rows<S, T>(room.b, b, b_time, b_width, b_first, b_rows, k, depth);
    __syncthreads();
    multiply<T>(square, room.a.v[0], Tiles<T>::kRow, room.b.v[0], Tiles<T>::kRow, Tiles<T>::kDepth);
  }
}

template <class T>
__device__ __forceinline__ void put(Room<T>& room, const typename Tiles<T>::Square& square) {
  constexpr int n = Tiles<T>::kSide;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int j = 0; j < n; ++j) {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < n; ++i) pack.v[i] = square[i][j];
    *reinterpret_cast<Pack<T>*>(&room.p[tx * n + j][ty * n]) = pack;
  }
}

// sums += P^T rows of B: room.p has been written by all threads (no barrier in between is needed), rows [first, first +
// kTile) of B, columns of the slice.
template <int kChunks, class S, class T>
__device__ __forceinline__ void add_product(Room<T>& room, typename Tiles<T>::Square (&sums)[kChunks], const S* b,
                                            i64 time, i64 width, i64 first, i64 rows, i64 column, i64 columns) {
  constexpr int kTile = Tiles<T>::kTile, kDepth = Tiles<T>::kDepth;
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    if (column + chunk * kTile >= columns) break;
    for (int k = 0; k < kTile && first + k < rows; k += kDepth) {
      __syncthreads();
      load_columns<S, T>(room.b, b, time, width, first + k, rows, column + chunk * kTile, columns);
      __syncthreads();
      multiply<T>(sums[chunk], room.p[k], Tiles<T>::kRow, room.b.v[0], Tiles<T>::kRow, kDepth);
    }
  }
  __syncthreads();
}

// The score of a row and a key in units of log2, with the mask.
template <class S>
WEFT_FN Wide<S> score(const Arguments<S>& a, Wide<S> dot, i64 batch, i64 head, i64 row, i64 key) {
  using T = Wide<S>;
  if (row >= a.tq || key >= a.tk || (a.causal && key > row)) return minus_infinity<T>();
  T s = dot * a.log2_scale;
  if (a.mask != nullptr) {
    const i64 at =
        batch * a.mask_strides[0] + head * a.mask_strides[1] + row * a.mask_strides[2] + key * a.mask_strides[3];
    if (a.bool_mask)
      s = static_cast<const uint8_t*>(a.mask)[at] ? s : minus_infinity<T>();
    else
      s += load<S>(static_cast<const S*>(a.mask)[at]) * T(kLog2E);
  }
  return s;
}

// Which tile of which matrix a block takes.
struct Place {
  i64 batch, head, first, slice;
};
WEFT_FN Place place(u32 block, i64 time, int tile, i64 heads, u32 slices) {
  const u32 tiles = u32((time + tile - 1) / tile), matrix = block / slices / tiles;
  return {i64(matrix / u32(heads)), i64(matrix % u32(heads)), i64(block / slices % tiles) * tile, i64(block % slices)};
}

template <class S, int kChunks>
__global__ void __launch_bounds__(kThreads) forward(Arguments<S> a) {
  using T = Wide<S>;
  constexpr int n = Tiles<T>::kSide, kTile = Tiles<T>::kTile;
  WEFT_SHARED(Room<T>, room);
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  const Place at = place(blockIdx.x, a.tq, kTile, a.heads, a.slices);
  const i64 kv = at.head / a.group, column = at.slice * kChunks * kTile;
  const S *q = a.q.matrix(at.batch, at.head), *k = a.k.matrix(at.batch, kv), *v = a.v.matrix(at.batch, kv);
  typename Tiles<T>::Square sums[kChunks], square;
  T largest[n], total[n];
  for (int c = 0; c < kChunks; ++c) clear<T>(sums[c]);
  for (int i = 0; i < n; ++i) largest[i] = minus_infinity<T>(), total[i] = T(0);
  const i64 seen = a.causal && at.first + kTile < a.tk ? at.first + kTile : a.tk;
  for (i64 key = 0; key < seen; key += kTile) {
    dot_rows<S, T>(room, square, q, a.q.time, a.q.width, at.first, a.tq, k, a.k.time, a.k.width, key, a.tk, a.d);
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const i64 row = at.first + ty * n + i;
      T most = largest[i];
#pragma unroll
      for (int j = 0; j < n; ++j) {
        square[i][j] = score(a, square[i][j], at.batch, at.head, row, key + tx * n + j);
        most = square[i][j] > most ? square[i][j] : most;
      }
      for (int step = 8; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, most, step);
        most = other > most ? other : most;
      }
      const T pivot = most == minus_infinity<T>() ? T(0) : most;
      T sum = T(0);
#pragma unroll
      for (int j = 0; j < n; ++j) {
        square[i][j] = math::exp2(square[i][j] - pivot);
        sum += square[i][j];
      }
      for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
      const T keep = math::exp2(largest[i] - pivot);
      largest[i] = most;
      total[i] = total[i] * keep + sum;
#pragma unroll
      for (int c = 0; c < kChunks; ++c)
#pragma unroll
        for (int j = 0; j < n; ++j) sums[c][i][j] *= keep;
    }
    put<T>(room, square);
    add_product<kChunks, S, T>(room, sums, v, a.v.time, a.v.width, key, a.tk, column, a.dv);
  }
  S* out = a.o.matrix(at.batch, at.head);
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const i64 row = at.first + ty * n + i;
    if (row >= a.tq) continue;
    const bool none = total[i] == T(0);
    const T inverse = none ? T(0) : T(1) / total[i];
    for (int c = 0; c < kChunks; ++c)
      for (int j = 0; j < n; ++j) {
        const i64 to = column + c * kTile + tx * n + j;
        if (to < a.dv) out[row * a.o.time + to * a.o.width] = store<S>(sums[c][i][j] * inverse);
      }
    if (tx == 0 && at.slice == 0)
      a.lse[(at.batch * a.heads + at.head) * a.tq + row] =
          none ? minus_infinity<T>() : (largest[i] + math::log2(total[i])) * T(kLn2);
  }
}

// One warp for each row.
template <class S>
__global__ void __launch_bounds__(kThreads) deltas(Arguments<S> a, i64 rows) {
  using T = Wide<S>;
  const int lane = threadIdx.x % 32;
  for (i64 at = blockIdx.x * (kThreads / 32) + threadIdx.x / 32; at < rows; at += i64(gridDim.x) * (kThreads / 32)) {
    const i64 row = at % a.tq, head = at / a.tq % a.heads, batch = at / a.tq / a.heads;
    const S* o = a.o.matrix(batch, head) + row * a.o.time;
    const S* g = a.grad_o.matrix(batch, head) + row * a.grad_o.time;
    T sum = T(0);
    for (i64 i = lane; i < a.dv; i += 32)
      sum = math::fma(load<S>(o[i * a.o.width]), load<S>(g[i * a.grad_o.width]), sum);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane == 0) a.delta[at] = sum;
  }
}

// P of a row and a key from its score.
template <class T>
WEFT_FN T probability(T score, T lse) {
  return lse == minus_infinity<T>() ? T(0) : math::exp2(score - lse * T(kLog2E));
}

template <class S, int kChunks>
__global__ void __launch_bounds__(kThreads) query_gradient(Arguments<S> a) {
  using T = Wide<S>;
  constexpr int n = Tiles<T>::kSide, kTile = Tiles<T>::kTile;
  WEFT_SHARED(Room<T>, room);
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  const Place at = place(blockIdx.x, a.tq, kTile, a.heads, a.slices);
  const i64 kv = at.head / a.group, column = at.slice * kChunks * kTile;
  const S *q = a.q.matrix(at.batch, at.head), *g = a.grad_o.matrix(at.batch, at.head);
  const S *k = a.k.matrix(at.batch, kv), *v = a.v.matrix(at.batch, kv);
  typename Tiles<T>::Square sums[kChunks], p, ds;
  for (int c = 0; c < kChunks; ++c) clear<T>(sums[c]);
  T lse[n], delta[n];
  for (int i = 0; i < n; ++i) {
    const i64 row = at.first + ty * n + i, place = (at.batch * a.heads + at.head) * a.tq + row;
    lse[i] = row < a.tq ? a.lse[place] : T(0);
    delta[i] = row < a.tq ? a.delta[place] : T(0);
  }
  const i64 seen = a.causal && at.first + kTile < a.tk ? at.first + kTile : a.tk;
  for (i64 key = 0; key < seen; key += kTile) {
    dot_rows<S, T>(room, p, q, a.q.time, a.q.width, at.first, a.tq, k, a.k.time, a.k.width, key, a.tk, a.d);
    dot_rows<S, T>(room, ds, g, a.grad_o.time, a.grad_o.width, at.first, a.tq, v, a.v.time, a.v.width, key, a.tk, a.dv);
#pragma unroll
    for (int i = 0; i < n; ++i)
#pragma unroll
      for (int j = 0; j < n; ++j) {
        const T s = score(a, p[i][j], at.batch, at.head, at.first + ty * n + i, key + tx * n + j);
        const T weight = probability(s, lse[i]);
        ds[i][j] = weight == T(0) ? T(0) : weight * (ds[i][j] - delta[i]);
      }
    put<T>(room, ds);
    add_product<kChunks, S, T>(room, sums, k, a.k.time, a.k.width, key, a.tk, column, a.d);
  }
  S* out = a.grad_q.matrix(at.batch, at.head);
  for (int i = 0; i < n; ++i) {
    const i64 row = at.first + ty * n + i;
    if (row >= a.tq) continue;
    for (int c = 0; c < kChunks; ++c)
      for (int j = 0; j < n; ++j) {
        const i64 to = column + c * kTile + tx * n + j;
        if (to < a.d) out[row * a.grad_q.time + to * a.grad_q.width] = store<S>(sums[c][i][j] * a.scale);
      }
  }
}

// A block takes a tile of keys and walks over the rows of all heads that share them.
template <class S, int kChunks>
__global__ void __launch_bounds__(kThreads) key_value_gradients(Arguments<S> a) {
  using T = Wide<S>;
  constexpr int n = Tiles<T>::kSide, kTile = Tiles<T>::kTile;
  WEFT_SHARED(Room<T>, room);
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  const Place at = place(blockIdx.x, a.tk, kTile, a.kv_heads, a.slices);
  const i64 column = at.slice * kChunks * kTile;
  const S *k = a.k.matrix(at.batch, at.head), *v = a.v.matrix(at.batch, at.head);
  typename Tiles<T>::Square dk[kChunks], dv[kChunks], p, ds;
  for (int c = 0; c < kChunks; ++c) clear<T>(dk[c]), clear<T>(dv[c]);
  for (i64 head = at.head * a.group; head < (at.head + 1) * a.group; ++head) {
    const S *q = a.q.matrix(at.batch, head), *g = a.grad_o.matrix(at.batch, head);
    const i64 rows = (at.batch * a.heads + head) * a.tq;
    // With a causal mask earlier rows see none of these keys.
    for (i64 first = a.causal ? at.first / kTile * kTile : 0; first < a.tq; first += kTile) {
      dot_rows<S, T>(room, p, k, a.k.time, a.k.width, at.first, a.tk, q, a.q.time, a.q.width, first, a.tq, a.d);
      dot_rows<S, T>(room, ds, v, a.v.time, a.v.width, at.first, a.tk, g, a.grad_o.time, a.grad_o.width, first, a.tq,
                     a.dv);
#pragma unroll
      for (int j = 0; j < n; ++j) {
        const i64 row = first + tx * n + j;
        const T lse = row < a.tq ? a.lse[rows + row] : T(0), delta = row < a.tq ? a.delta[rows + row] : T(0);
#pragma unroll
        for (int i = 0; i < n; ++i) {
          const T s = score(a, p[i][j], at.batch, head, row, at.first + ty * n + i);
          p[i][j] = probability(s, lse);
          ds[i][j] = p[i][j] == T(0) ? T(0) : p[i][j] * (ds[i][j] - delta);
        }
      }
      put<T>(room, p);
      add_product<kChunks, S, T>(room, dv, g, a.grad_o.time, a.grad_o.width, first, a.tq, column, a.dv);
      put<T>(room, ds);
      add_product<kChunks, S, T>(room, dk, q, a.q.time, a.q.width, first, a.tq, column, a.d);
    }
  }
  S *out_k = a.grad_k.matrix(at.batch, at.head), *out_v = a.grad_v.matrix(at.batch, at.head);
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const i64 key = at.first + ty * n + i;
    if (key >= a.tk) continue;
#pragma unroll
    for (int c = 0; c < kChunks; ++c)
#pragma unroll
      for (int j = 0; j < n; ++j) {
        const i64 to = column + c * kTile + tx * n + j;
        if (to < a.d) out_k[key * a.grad_k.time + to * a.grad_k.width] = store<S>(dk[c][i][j] * a.scale);
        if (to < a.dv) out_v[key * a.grad_v.time + to * a.grad_v.width] = store<S>(dv[c][i][j]);
      }
  }
}

}  // namespace weft::gpu::flash
