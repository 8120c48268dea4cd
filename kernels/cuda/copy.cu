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

// The source runs through memory along dimension `across`, the destination along the last one: tiles of 32 x 32 through
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

template <class W>
__global__ void __launch_bounds__(kThreads) transpose(const __grid_constant__ TransposeArguments a) {
  WEFT_SHARED(W[32 * 33], tile);
  const int x = threadIdx.x % 32, y = threadIdx.x / 32;
  for (u32 t = blockIdx.x; t < a.tiles; t += gridDim.x) {
    u32 rest = t / (a.row_tiles * a.column_tiles);
    const u32 inside = t % (a.row_tiles * a.column_tiles);
    const i64 row = i64(inside / a.column_tiles) * 32, column = i64(inside % a.column_tiles) * 32;
    i64 from = 0, to = 0;
    for (int d = a.dims - 1; d >= 0; --d) {
      const u32 quotient = a.outer[d].quotient(rest), index = rest - quotient * a.outer[d].divisor;
      from += index * a.in_outer[d];
      to += index * a.out_outer[d];
      rest = quotient;
    }
    const W* in = static_cast<const W*>(a.in) + from;
    W* out = static_cast<W*>(a.out) + to;
    __syncthreads();  // the tile before has been written
    for (int k = y; k < 32; k += kThreads / 32)
      if (row + k < a.rows && column + x < a.columns) tile[k * 33 + x] = in[(row + k) * a.in_row + column + x];
    __syncthreads();
    for (int k = y; k < 32; k += kThreads / 32)
      if (column + k < a.columns && row + x < a.rows) out[(column + k) * a.out_column + row + x] = tile[x * 33 + k];
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
  for (int d = 0; d < last; ++d) {
    if (d == across) continue;
    a.outer[a.dims] = Divider(u32(nest.sizes[d]));
    a.in_outer[a.dims] = from.strides[d];
    a.out_outer[a.dims++] = to.strides[d];
    outer *= nest.sizes[d];
  }
  a.row_tiles = u32((a.rows + 31) / 32);
  a.column_tiles = u32((a.columns + 31) / 32);
  const i64 tiles = outer * a.row_tiles * a.column_tiles;
  a.tiles = u32(tiles);
  const dim3 grid(a.tiles < 1u << 20 ? a.tiles : 1u << 20);
  with_width(to.dtype,
             [&](auto w) { launch(transpose<typename decltype(w)::type>, grid, kThreads, 0, current_stream(), a); });
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
  return a.sizes() == b.sizes() && a.strides() == b.strides() && detail::is_dense(a.sizes(), a.strides());
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
  Tensor packed = from;
  if (from.sizes() != to.sizes() || from.dtype() != to.dtype() || !same_layout(to, from)) {
    const bool first = itemsize(to.dtype()) < itemsize(from.dtype());
    if (first) packed = packed.to(to.dtype());
    packed = packed.contiguous();
    Tensor there = detail::allocate(packed.sizes(), packed.dtype(), to.device());
    copy_across(there, packed, false);
    Tensor target = to;
    target.copy_(there);
  }
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
