#include "core/ops/shape.h"

#include "core/ops/copy.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/walk.cuh"

namespace weft::gpu {
namespace {

void copy_into(Tensor to, const Tensor& from) {
  const CopyOp::Attrs attrs{};
  copy({CopyOp::record, &from, 1, &to, 1, &attrs});
}

// ---- cat: many dense inputs in one launch. Each is a matrix [rows, width] that lands in columns of [rows, pitch].

constexpr int kParts = 64;
struct JoinArguments {
  struct Part {
    const void* from;
    i64 to;  // of its first element in the result
    Divider width;
  };
  Part parts[kParts];
  void* out;
  i64 pitch;
  u32 rows;
};

// A row of blocks for each input.
template <class W>
__global__ void __launch_bounds__(kThreads) join(JoinArguments a) {
  const JoinArguments::Part& part = a.parts[blockIdx.y];
  const W* from = static_cast<const W*>(part.from);
  W* out = static_cast<W*>(a.out) + part.to;
  const u32 n = part.width.divisor * a.rows;
  for (u32 base = blockIdx.x * (kThreads * kUnroll) + threadIdx.x; base < n; base += gridDim.x * (kThreads * kUnroll)) {
    W value[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (const u32 e = base + k * kThreads; e < n) value[k] = from[e];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (const u32 e = base + k * kThreads; e < n) {
        const u32 row = part.width.quotient(e);
        out[row * a.pitch + (e - row * part.width.divisor)] = value[k];
      }
  }
}

// Launches what is gathered of `a`, in units of 16 bytes where all of it fits.
void run_join(JoinArguments& a, int count, DType dtype) {
  const i64 pack = 16 / i64(itemsize(dtype));
  bool packs = aligned16(a.out) && a.pitch % pack == 0;
  for (int i = 0; i < count; ++i)
    packs &= aligned16(a.parts[i].from) && a.parts[i].to % pack == 0 && a.parts[i].width.divisor % pack == 0;
  i64 most = 0;
  for (int i = 0; i < count; ++i) {
    if (packs) {
      a.parts[i].to /= pack;
      a.parts[i].width = Divider(u32(a.parts[i].width.divisor / pack));
    }
    most = std::max(most, i64(a.parts[i].width.divisor) * a.rows);
  }
  const i64 pitch = a.pitch;
  a.pitch = packs ? pitch / pack : pitch;
  const dim3 grid(grid_for_unrolled(most).x, unsigned(count));
  auto start = [&](auto w) { launch(join<typename decltype(w)::type>, grid, kThreads, 0, current_stream(), a); };
  if (packs)
    start(Type<Pack16>{});
  else
    with_width(dtype, start);
  a.pitch = pitch;
}

}  // namespace

void cat(const OpCall& c) {
  const auto& attrs = c.as<CatOp::Attrs>();
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  const int dim = attrs.dim;
  i64 inner = 1, rows = 1;
  for (int d = 0; d < out.dim(); ++d) (d < dim ? rows : inner) *= d == dim ? 1 : out.sizes()[d];
  JoinArguments a{};
  a.out = out.impl()->data;
  a.pitch = out.sizes()[dim] * inner;
  a.rows = u32(rows);
  int count = 0;
  i64 at = 0;
  Dims sizes = out.sizes();
  for (int i = 0; i < c.n_in; ++i) {
    const Tensor& t = c.in[i];
    const i64 length = attrs.lengths()[i], from = at;
    at += length;
    if (length == 0 || t.numel() == 0) continue;
    if (t.dtype() != out.dtype() || !t.is_contiguous() || t.numel() >= i64{1} << 31) {
      sizes[dim] = length;
      copy_into(detail::alias(out, sizes, out.strides(), out.storage_offset() + from * out.strides()[dim]), t);
      continue;
    }
    a.parts[count++] = {t.impl()->data, from * inner, Divider(u32(length * inner))};
    if (count == kParts) {
      run_join(a, count, out.dtype());
      count = 0;
    }
  }
  if (count > 0) run_join(a, count, out.dtype());
}

// ---- flip

namespace {

struct ReverseArguments {
  Walk<2> walk;  // in packs
  const void* in;
  void* out;
};

// Whole packs, their elements in reverse.
template <class W>
__global__ void __launch_bounds__(kThreads) reverse_packs(ReverseArguments a) {
  constexpr int kCount = Pack<W>::kCount;
  const u32 n = a.walk.n;
  for (u32 base = blockIdx.x * (kThreads * kUnroll) + threadIdx.x; base < n; base += gridDim.x * (kThreads * kUnroll)) {
    Pack<W> pack[kUnroll];
    i64 to[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      if (base + k * kThreads >= n) continue;
      i64 o[2];
      a.walk.offsets(base + k * kThreads, o);
      to[k] = o[0];
      pack[k] = static_cast<const Pack<W>*>(a.in)[o[1]];
    }
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      if (base + k * kThreads >= n) continue;
      Pack<W> reversed;
#pragma unroll
      for (int i = 0; i < kCount; ++i) reversed.v[i] = pack[k].v[kCount - 1 - i];
      static_cast<Pack<W>*>(a.out)[to[k]] = reversed;
    }
  }
}

template <class W>
__global__ void __launch_bounds__(kThreads) move_strided(Walk<2> walk, const W* in, W* out) {
  const u32 n = walk.n;
  for (u32 base = blockIdx.x * (kThreads * kUnroll) + threadIdx.x; base < n; base += gridDim.x * (kThreads * kUnroll)) {
    W value[kUnroll];
    i64 to[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      if (base + k * kThreads >= n) continue;
      i64 o[2];
      walk.offsets(base + k * kThreads, o);
      to[k] = o[0];
      value[k] = in[o[1]];
    }
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (base + k * kThreads < n) out[to[k]] = value[k];
  }
}

// The innermost dimension runs backwards through packs of 16 bytes.
bool run_reverse(LoopNest nest) {
  LoopOperand &to = nest.operands[0], &from = nest.operands[1];
  const int last = nest.dims - 1;
  const i64 size = i64(itemsize(to.dtype)), pack = 16 / size;
  void* first = static_cast<char*>(from.data) - (pack - 1) * size;  // of the pack that `from` is the last element of
  if (to.strides[last] != 1 || from.strides[last] != -1 || nest.sizes[last] % pack != 0 || !aligned16(to.data) ||
      !aligned16(first))
    return false;
  for (int d = 0; d < last; ++d)
    if (to.strides[d] % pack != 0 || from.strides[d] % pack != 0) return false;
  for (int d = 0; d < last; ++d) {
    to.strides[d] /= pack;
    from.strides[d] /= pack;
  }
  nest.sizes[last] /= pack;
  nest.numel /= pack;
  const ReverseArguments a{Walk<2>(nest), first, to.data};
  with_width(to.dtype, [&](auto w) {
    launch(reverse_packs<typename decltype(w)::type>, grid_for_unrolled(nest.numel), kThreads, 0, current_stream(), a);
  });
  return true;
}

}  // namespace

// Read backwards: from the last element on, with negative strides.
void flip(const OpCall& c) {
  const Tensor &x = c.in[0], &out = c.out[0];
  if (x.numel() == 0) return;
  Dims strides = x.strides();
  i64 at = x.storage_offset();
  if (x.dim() > 0) {
    for (i64 d : c.as<FlipOp::Attrs>().dims) {
      i64& stride = strides[int(d)];
      at += (x.sizes()[int(d)] - 1) * stride;
      stride = -stride;
    }
  }
  in_parts(nest_of(out, {detail::alias(x, x.sizes(), strides, at)}), [](LoopNest nest) {
    if (run_reverse(nest)) return;
    Place none{};
    auto start = [&](auto w) {
      using W = typename decltype(w)::type;
      launch(move_strided<W>, grid_for_unrolled(nest.numel), kThreads, 0, current_stream(), Walk<2>(nest),
             static_cast<const W*>(nest.operands[1].data), static_cast<W*>(nest.operands[0].data));
    };
    const DType dtype = nest.operands[0].dtype;
    if (pack16(nest, none, 0b11))
      start(Type<Pack16>{});
    else
      with_width(dtype, start);
  });
}

// ---- triangle

namespace {

template <class W, int Count>
struct alignas(Count * sizeof(W)) Several {
  W v[Count];
};

// In units of Count elements of one row; x is dense.
template <class W, int Count>
__global__ void __launch_bounds__(kThreads)
    keep_triangle(const W* x, W* out, u32 n, Divider columns, Divider rows, i64 diagonal, bool upper) {
  using Unit = Several<W, Count>;
  for (u32 base = blockIdx.x * (kThreads * kUnroll) + threadIdx.x; base < n; base += gridDim.x * (kThreads * kUnroll)) {
    Unit unit[kUnroll];
    i64 edge[kUnroll];  // the elements of a unit before it belong to the lower part
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      const u32 e = base + k * kThreads;
      if (e >= n) continue;
      const u32 line = columns.quotient(e);
      const i64 column = i64(e - line * columns.divisor) * Count, row = line - rows.quotient(line) * rows.divisor;
      edge[k] = row + diagonal + (upper ? 0 : 1) - column;
      const bool any = upper ? edge[k] < Count : edge[k] > 0;
      if (any) unit[k] = reinterpret_cast<const Unit*>(x)[e];
    }
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      const u32 e = base + k * kThreads;
      if (e >= n) continue;
      Unit kept;
#pragma unroll
      for (int i = 0; i < Count; ++i) kept.v[i] = (i < edge[k]) != upper ? unit[k].v[i] : W(0);
      reinterpret_cast<Unit*>(out)[e] = kept;
    }
  }
}

}  // namespace

void triangle(const OpCall& c) {
  const auto& a = c.as<TriangleOp::Attrs>();
  const Tensor &x = c.in[0], &out = c.out[0];
  if (x.numel() == 0) return;
  const i64 rows = x.sizes()[x.dim() - 2], columns = x.sizes().back(), lines = x.numel() / columns;
  WEFT_CHECK(rows < i64{1} << 31 && columns < i64{1} << 30, "triangle: {} is too large", x);
  // Far diagonals keep all or nothing.
  const i64 diagonal = std::clamp(a.diagonal, -rows - 1, columns + 1);
  // Whole matrices, or lines of one, with fewer than 2^31 elements a launch.
  const i64 at_once = std::max<i64>(1, ((i64{1} << 31) - 1) / columns);
  const i64 step = at_once >= rows ? at_once / rows * rows : at_once;
  with_width(x.dtype(), [&](auto w) {
    using W = typename decltype(w)::type;
    constexpr int kCount = Pack<W>::kCount;
    const W* from = static_cast<const W*>(x.impl()->data);
    W* to = static_cast<W*>(out.impl()->data);
    for (i64 line = 0; line < lines;) {
      const i64 row = line % rows, count = std::min({step, lines - line, step >= rows ? lines : rows - row});
      const W* p = from + line * columns;
      W* q = to + line * columns;
      const bool packs = columns % kCount == 0 && aligned16(p) && aligned16(q);
      const i64 width = packs ? columns / kCount : columns;
      auto start = [&](auto kernel) {
        launch(kernel, grid_for_unrolled(count * width), kThreads, 0, current_stream(), p, q, u32(count * width),
               Divider(u32(width)), Divider(u32(rows)), diagonal + row, a.upper);
      };
      if (packs)
        start(keep_triangle<W, kCount>);
      else
        start(keep_triangle<W, 1>);
      line += count;
    }
  });
}

}  // namespace weft::gpu
