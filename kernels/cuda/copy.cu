#include "core/ops/copy.h"

#include "core/device_backend.h"
#include "core/thread_state.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/strided.h"

namespace weft::gpu {
namespace {

struct CopyArguments {
  const void* in;
  void* out;
  i64 in_strides[kMaxDims], out_strides[kMaxDims];
  Divider sizes[kMaxDims];
  int dims;
  u32 n;
};

template <class D, class S>
__global__ void __launch_bounds__(kThreads) convert_strided(const __grid_constant__ CopyArguments a) {
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    i64 from = 0, to = 0;
    u32 rest = e;
    for (int d = a.dims - 1; d >= 0; --d) {
      const u32 quotient = a.sizes[d].quotient(rest), index = rest - quotient * a.sizes[d].divisor;
      from += index * a.in_strides[d];
      to += index * a.out_strides[d];
      rest = quotient;
    }
    static_cast<D*>(a.out)[to] = convert_value<D>(static_cast<const S*>(a.in)[from]);
  }
}

// Both are runs of memory: eight elements a thread.
template <class D, class S>
__global__ void __launch_bounds__(kThreads) convert_run(const S* in, D* out, u32 n) {
  struct alignas(8 * sizeof(S) < 16 ? 8 * sizeof(S) : 16) From {
    S v[8];
  };
  struct alignas(8 * sizeof(D) < 16 ? 8 * sizeof(D) : 16) To {
    D v[8];
  };
  const u32 thread = blockIdx.x * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x, packs = n / 8;
  for (u32 p = thread; p < packs; p += stride) {
    const From from = reinterpret_cast<const From*>(in)[p];
    To to;
#pragma unroll
    for (int k = 0; k < 8; ++k) to.v[k] = convert_value<D>(from.v[k]);
    reinterpret_cast<To*>(out)[p] = to;
  }
  if (const u32 e = packs * 8 + thread; e < n) out[e] = convert_value<D>(in[e]);
}

// The source runs through memory along dimension `across`, the destination along the last one: square tiles through
// shared memory, so that both sides are read and written in runs.
struct TransposeArguments {
  const void* in;
  void* out;
  i64 rows, columns;  // of the source's lines: `columns` elements next to each other in `in`
  i64 in_row, out_column;
  Divider outer[kMaxDims];
  i64 in_outer[kMaxDims], out_outer[kMaxDims];
  int dims;
  u32 row_tiles, column_tiles, tiles;
};

struct TilePlace {
  i64 row, column, from, to;  // first of the tile; offsets of its matrix
  bool whole;                 // no row or column is beyond the matrix
  __device__ __forceinline__ TilePlace(const TransposeArguments& a, u32 t, int side) : from(0), to(0) {
    u32 rest = t / (a.row_tiles * a.column_tiles);
    const u32 inside = t % (a.row_tiles * a.column_tiles);
    row = i64(inside / a.column_tiles) * side;
    column = i64(inside % a.column_tiles) * side;
    for (int d = a.dims - 1; d >= 0; --d) {
      const u32 quotient = a.outer[d].quotient(rest), index = rest - quotient * a.outer[d].divisor;
      from += index * a.in_outer[d];
      to += index * a.out_outer[d];
      rest = quotient;
    }
    whole = row + side <= a.rows && column + side <= a.columns;
  }
};

template <class W, int Side>
__global__ void __launch_bounds__(kThreads) transpose(const __grid_constant__ TransposeArguments a) {
  WEFT_SHARED(W[Side * (Side + 1)], tile);
  const int x = threadIdx.x % Side, y = threadIdx.x / Side;
  for (u32 t = blockIdx.x; t < a.tiles; t += gridDim.x) {
    const TilePlace at(a, t, Side);
    const W* in = static_cast<const W*>(a.in) + at.from;
    W* out = static_cast<W*>(a.out) + at.to;
    const auto move = [&](auto whole) {  // whole tiles without conditions: all loads are on their way at once
      constexpr bool kWhole = decltype(whole)::value;
      constexpr int kStep = kThreads / Side;
      __syncthreads();  // the tile before has been written
#pragma unroll
      for (int k = 0; k < Side; k += kStep)
        if (kWhole || (at.row + k + y < a.rows && at.column + x < a.columns))
          tile[(k + y) * (Side + 1) + x] = in[(at.row + k + y) * a.in_row + at.column + x];
      __syncthreads();
#pragma unroll
      for (int k = 0; k < Side; k += kStep)
        if (kWhole || (at.column + k + y < a.columns && at.row + x < a.rows))
          out[(at.column + k + y) * a.out_column + at.row + x] = tile[x * (Side + 1) + k + y];
    };
    if (at.whole)
      move(std::true_type());
    else
      move(std::false_type());
  }
}

// Elements of 16 bits, two at a time: rows, columns and strides are even.
inline constexpr int kPairSide = 64;
__global__ void __launch_bounds__(kThreads) transpose_pairs(const __grid_constant__ TransposeArguments a) {
  constexpr int kWords = kPairSide / 2, kStep = kThreads / kWords;
  WEFT_SHARED(u32[kPairSide * (kWords + 1)], tile);
  const int x = threadIdx.x % kWords, y = threadIdx.x / kWords;
  for (u32 t = blockIdx.x; t < a.tiles; t += gridDim.x) {
    const TilePlace at(a, t, kPairSide);
    const uint16_t* in = static_cast<const uint16_t*>(a.in) + at.from;
    uint16_t* out = static_cast<uint16_t*>(a.out) + at.to;
    const auto move = [&](auto whole) {
      constexpr bool kWhole = decltype(whole)::value;
      __syncthreads();  // the tile before has been written
#pragma unroll
      for (int k = 0; k < kPairSide; k += kStep)
        if (kWhole || (at.row + k + y < a.rows && at.column + 2 * x < a.columns))
          tile[(k + y) * (kWords + 1) + x] =
              *reinterpret_cast<const u32*>(in + (at.row + k + y) * a.in_row + at.column + 2 * x);
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kWords; k += kStep)
        if (kWhole || (at.column + 2 * (k + y) < a.columns && at.row + 2 * x < a.rows)) {
          const u32 upper = tile[2 * x * (kWords + 1) + k + y], lower = tile[(2 * x + 1) * (kWords + 1) + k + y];
          uint16_t* to = out + (at.column + 2 * (k + y)) * a.out_column + at.row + 2 * x;
          *reinterpret_cast<u32*>(to) = (upper & 0xffffu) | lower << 16;
          *reinterpret_cast<u32*>(to + a.out_column) = upper >> 16 | (lower & 0xffff0000u);
        }
    };
    if (at.whole)
      move(std::true_type());
    else
      move(std::false_type());
  }
}

// False: the nest is no transposition.
bool run_transpose(const LoopNest& nest) {
  const LoopOperand &to = nest.operands[0], &from = nest.operands[1];
  const int last = nest.dims - 1;
  if (nest.dims < 2 || to.dtype != from.dtype || to.strides[last] != 1 || from.strides[last] < 2) return false;
  int across = -1;
  for (int d = 0; d < last; ++d)
    if (from.strides[d] == 1) across = d;
  if (across < 0 || nest.sizes[last] < 8 || nest.sizes[across] < 8) return false;
  TransposeArguments a{};
  a.in = from.data;
  a.out = to.data;
  a.rows = nest.sizes[last];
  a.columns = nest.sizes[across];
  a.in_row = from.strides[last];
  a.out_column = to.strides[across];
  i64 outer = 1;
  u64 odd = u64(a.rows | a.columns | a.in_row | a.out_column) | reinterpret_cast<uintptr_t>(a.in) >> 1 |
            reinterpret_cast<uintptr_t>(a.out) >> 1;
  for (int d = 0; d < last; ++d) {
    if (d == across) continue;
    a.outer[a.dims] = Divider(u32(nest.sizes[d]));
    a.in_outer[a.dims] = from.strides[d];
    a.out_outer[a.dims++] = to.strides[d];
    outer *= nest.sizes[d];
    odd |= u64(from.strides[d] | to.strides[d]);
  }
  const auto run = [&](auto kernel, int side) {
    a.row_tiles = u32((a.rows + side - 1) / side);
    a.column_tiles = u32((a.columns + side - 1) / side);
    a.tiles = u32(outer * a.row_tiles * a.column_tiles);
    launch(kernel, dim3(a.tiles < 1u << 20 ? a.tiles : 1u << 20), kThreads, 0, current_stream(), a);
  };
  const bool large = a.rows >= 48 && a.columns >= 48;
  with_width(to.dtype, [&](auto w) {
    using W = typename decltype(w)::type;
    if constexpr (sizeof(W) == 2)
      if (large && odd % 2 == 0) return run(transpose_pairs, kPairSide);
    if constexpr (sizeof(W) <= 4)
      if (large) return run(transpose<W, 64>, 64);
    run(transpose<W, 32>, 32);
  });
  return true;
}

template <class D, class S>
void run_strided(const LoopNest& nest) {
  CopyArguments a{};
  a.in = nest.operands[1].data;
  a.out = nest.operands[0].data;
  a.dims = nest.dims;
  a.n = u32(nest.numel);
  for (int d = 0; d < nest.dims; ++d) {
    a.sizes[d] = Divider(u32(nest.sizes[d]));
    a.in_strides[d] = nest.operands[1].strides[d];
    a.out_strides[d] = nest.operands[0].strides[d];
  }
  launch(convert_strided<D, S>, grid_for(a.n), kThreads, 0, current_stream(), a);
}

// Between two places of one device.
void copy_here(const Tensor& to, const Tensor& from) {
  const int which[] = {0};
  in_parts(make_nest(to, &from, which, 1), [](const LoopNest& nest) {
    const LoopOperand &out = nest.operands[0], &in = nest.operands[1];
    const bool runs = nest.dense(0) && nest.dense(1), same = out.dtype == in.dtype;
    if (runs && same) {
      ++launches;
      return check(cudaMemcpyAsync(out.data, in.data, size_t(nest.numel) * itemsize(out.dtype),
                                   cudaMemcpyDeviceToDevice, current_stream()),
                   "copy");
    }
    if (same) {
      if (run_transpose(nest)) return;
      return with_width(out.dtype, [&](auto w) {
        using W = typename decltype(w)::type;
        run_strided<W, W>(nest);
      });
    }
    with_dtype(out.dtype, [&](auto d) {
      with_dtype(in.dtype, [&](auto s) {
        using D = typename decltype(d)::type;
        using S = typename decltype(s)::type;
        if constexpr (!std::is_same_v<D, S>) {
          if (runs && aligned16(out.data) && aligned16(in.data))
            launch(convert_run<D, S>, grid_for((nest.numel + 7) / 8), kThreads, 0, current_stream(),
                   static_cast<const S*>(in.data), static_cast<D*>(out.data), u32(nest.numel));
          else
            run_strided<D, S>(nest);
        }
      });
    });
  });
}

bool same_layout(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes() || !detail::is_dense(a.sizes(), a.strides())) return false;
  for (int i = 0; i < a.dim(); ++i)
    if (a.sizes()[i] != 1 && a.strides()[i] != b.strides()[i]) return false;  // a lone element's stride says nothing
  return true;
}

// Across devices, or to and from the host: bytes travel as they are, every other change happens on one side.
void copy_across(const Tensor& to, const Tensor& from, bool non_blocking) {
  if (to.dtype() == from.dtype() && same_layout(to, from)) {
    const bool pinned = (to.device().is_cpu() && is_pinned(to.impl()->storage->data)) ||
                        (from.device().is_cpu() && is_pinned(from.impl()->storage->data));
    const bool wait =
        to.device().is_cpu() ? !(non_blocking && pinned) : from.device().is_cpu() && !(non_blocking && pinned);
    return detail::cuda_backend()->copy(to.impl()->data, to.device(), from.impl()->data, from.device(), to.nbytes(),
                                        wait);
  }
  NoGrad guard;
  // The fewest bytes travel: the conversion happens where they are more.
  const Tensor packed = (itemsize(to.dtype()) < itemsize(from.dtype()) ? from.to(to.dtype()) : from).contiguous();
  const Tensor there = detail::allocate(packed.sizes(), packed.dtype(), to.device());
  copy_across(there, packed, false);
  Tensor target = to;
  target.copy_(there);
}

}  // namespace

void copy(const OpCall& c) {
  const Tensor &to = c.out[0], &from = c.in[c.n_in - 1];
  if (to.numel() == 0) return;
  if (to.device() == from.device()) return copy_here(to, from);
  copy_across(to, from, c.as<CopyOp::Attrs>().non_blocking);
}

void to_copy(const OpCall& c) { copy(c); }

// ---- fill

namespace {
template <class W>
__global__ void __launch_bounds__(kThreads) fill_run(W* out, u32 n, W value) {
  const u32 thread = blockIdx.x * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x;
  constexpr u32 kCount = Pack<W>::kCount;
  Pack<W> pack;
  for (u32 k = 0; k < kCount; ++k) pack.v[k] = value;
  for (u32 p = thread; p < n / kCount; p += stride) reinterpret_cast<Pack<W>*>(out)[p] = pack;
  if (const u32 e = n / kCount * kCount + thread; e < n) out[e] = value;
}
template <class W>
__global__ void __launch_bounds__(kThreads) fill_strided(const __grid_constant__ CopyArguments a, W value) {
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    i64 to = 0;
    u32 rest = e;
    for (int d = a.dims - 1; d >= 0; --d) {
      const u32 quotient = a.sizes[d].quotient(rest);
      to += (rest - quotient * a.sizes[d].divisor) * a.out_strides[d];
      rest = quotient;
    }
    static_cast<W*>(a.out)[to] = value;
  }
}

u64 bits_of(Scalar value, DType dtype) {
  return with_dtype(dtype, [&](auto s) {
    using S = typename decltype(s)::type;
    S v;
    if constexpr (std::is_same_v<S, Bool>)
      v = Bool{uint8_t(value.truth())};
    else if constexpr (is_half_type<S>)
      v = convert_value<S>(float(value.f64()));
    else
      v = value.to<S>();
    u64 bits = 0;
    __builtin_memcpy(&bits, &v, sizeof v);
    return bits;
  });
}
}  // namespace

void fill(const OpCall& c) {
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  const u64 bits = bits_of(c.as<FillOp::Attrs>().value, out.dtype());
  in_parts(make_nest(out, nullptr, nullptr, 0), [&](const LoopNest& nest) {
    const LoopOperand& o = nest.operands[0];
    with_width(o.dtype, [&](auto w) {
      using W = typename decltype(w)::type;
      if (nest.dense(0) && bits == 0) {
        ++launches;
        return check(cudaMemsetAsync(o.data, 0, size_t(nest.numel) * sizeof(W), current_stream()), "fill");
      }
      if (nest.dense(0) && aligned16(o.data))
        return launch(fill_run<W>, grid_for(nest.numel / Pack<W>::kCount + 1), kThreads, 0, current_stream(),
                      static_cast<W*>(o.data), u32(nest.numel), W(bits));
      CopyArguments a{};
      a.out = o.data;
      a.dims = nest.dims;
      a.n = u32(nest.numel);
      for (int d = 0; d < nest.dims; ++d) {
        a.sizes[d] = Divider(u32(nest.sizes[d]));
        a.out_strides[d] = o.strides[d];
      }
      launch(fill_strided<W>, grid_for(a.n), kThreads, 0, current_stream(), a, W(bits));
    });
  });
}

}  // namespace weft::gpu
