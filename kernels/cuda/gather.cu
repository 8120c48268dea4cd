#include "core/ops/gather.h"

#include "core/ops/embedding.h"
#include "core/ops/index.h"
#include "kernels/cuda/index_ref.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/walk.cuh"

// out[...] = x[... index ...]: gather, index and embedding are one kernel over (out, index, x), where x stands still
// along what is indexed.
namespace weft::gpu {
namespace {

template <class W>
struct TakeArguments {
  Walk<3> walk;
  W* out;
  IndexRef index;
  const W* x;
  Place place;
};

template <class W>
__global__ void __launch_bounds__(kThreads) take(TakeArguments<W> a) {
  const u32 n = a.walk.n;
  for (u32 base = blockIdx.x * (kThreads * kUnroll) + threadIdx.x; base < n; base += gridDim.x * (kThreads * kUnroll)) {
    i64 to[kUnroll], number[kUnroll], from[kUnroll];
    W value[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      const u32 e = base + k * kThreads;
      if (e >= n) continue;
      i64 o[3];
      a.walk.offsets(e, o);
      to[k] = o[0];
      from[k] = o[2];
      number[k] = a.index.read(o[1]);
    }
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (base + k * kThreads < n) value[k] = a.x[from[k] + a.place.offset(a.index.checked(number[k]))];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (base + k * kThreads < n) a.out[to[k]] = value[k];
  }
}

void run_take(const LoopNest& whole, const Place& given, const IndexRef& checks) {
  in_parts(whole, [&](LoopNest nest) {
    Place place = given;
    const DType dtype = nest.operands[0].dtype;
    const bool packed = itemsize(dtype) < 16 && pack16(nest, place, 0b101);
    auto start = [&](auto w) {
      using W = typename decltype(w)::type;
      IndexRef index = checks;
      index.data = nest.operands[1].data;
      const TakeArguments<W> a{Walk<3>(nest), static_cast<W*>(nest.operands[0].data), index,
                               static_cast<const W*>(nest.operands[2].data), place};
      launch(take<W>, grid_for_unrolled(nest.numel), kThreads, 0, current_stream(), a);
    };
    if (packed)
      start(Type<Pack16>{});
    else
      with_width(dtype, start);
  });
}

}  // namespace

void gather(const OpCall& c) {
  const Tensor &x = c.in[0], &index = c.in[1], &out = c.out[0];
  if (out.numel() == 0) return;
  const int dim = c.as<GatherOp::Attrs>().dim;
  const IndexRef checks(index, x.sizes()[dim], c.op.name, dim);
  if (x.numel() == 0) {  // every index is out of range: some memory that can be read
    const Tensor any = detail::alias(out, out.sizes(), Dims::filled(out.dim(), 0), out.storage_offset());
    return run_take(nest_of(out, {index, any}), Place{}, checks);
  }
  Dims strides = x.strides();
  strides[dim] = 0;
  const Tensor lines = detail::alias(x, index.sizes(), strides, x.storage_offset());
  run_take(nest_of(out, {index, lines}), place_of(x, dim, 1), checks);
}

namespace {
void take_rows(const OpCall& c, int first, int count) {
  const Tensor &x = c.in[0], &linear = c.in[1], &out = c.out[0];
  if (out.numel() == 0 || x.numel() == 0) return;
  run_take(nest_of(out, {spread(linear, out.sizes(), first), standing(x, first, count, linear.sizes())}),
           place_of(x, first, count), IndexRef(linear));
}
}  // namespace

void index(const OpCall& c) {
  const auto& a = c.as<IndexOp::Attrs>();
  take_rows(c, a.first, a.count);
}

void embedding(const OpCall& c) { take_rows(c, 0, 1); }

}  // namespace weft::gpu
