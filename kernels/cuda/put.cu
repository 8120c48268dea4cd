#include "kernels/cuda/put.cuh"

#include "core/ops/index.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/kernels.h"

namespace weft::gpu {

Tensor Put::target() const {
  if (!lines) return standing(x, first, count, index.sizes());
  Dims strides = x.strides();
  strides[first] = 0;
  return detail::alias(x, index.sizes(), strides, x.storage_offset());
}
Tensor Put::indices() const { return lines ? index : spread(index, values.sizes(), first); }

namespace {

// Of the elements that go to one place the one with the highest tag wins: `table` holds it for every place.
struct Winners {
  int* table;
  i64 step;       // of one index in the table
  i64 first_tag;  // of this part of the nest

  Winners part(const LoopNest& nest, int table_operand, const Tensor& index) const {
    const auto offset = [&](int k) {
      return (static_cast<char*>(nest.operands[k].data) - static_cast<char*>(index.impl()->data)) /
             i64(itemsize(index.dtype()));
    };
    return {table == nullptr ? nullptr : table + offset(table_operand), step, offset(table_operand + 1)};
  }
};

template <class W>
struct PutArguments {
  Walk<5> walk;  // values, index, x, table, tag
  const W* values;
  IndexRef index;
  W* x;
  Place place;
  Winners winners;
};

template <class W>
__global__ void __launch_bounds__(kThreads) put_elements(PutArguments<W> a) {
  const u32 n = a.walk.n;
  for (u32 base = blockIdx.x * (kThreads * kUnroll) + threadIdx.x; base < n; base += gridDim.x * (kThreads * kUnroll)) {
    i64 to[kUnroll], number[kUnroll];
    W value[kUnroll];
    bool wins[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      wins[k] = base + k * kThreads < n;
      if (!wins[k]) continue;
      i64 o[5];
      a.walk.offsets(base + k * kThreads, o);
      number[k] = a.index.checked(a.index.read(o[1]));
      value[k] = a.values[o[0]];
      to[k] = o[2];
      if (a.winners.table != nullptr)
        wins[k] = a.winners.table[o[3] + number[k] * a.winners.step] == int(a.winners.first_tag + o[4]);
    }
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (wins[k]) a.x[to[k] + a.place.offset(number[k])] = value[k];
  }
}

struct MarkArguments {
  Walk<3> walk;  // index, table, tag
  IndexRef index;
  Winners winners;
};
__global__ void __launch_bounds__(kThreads) mark_winners(MarkArguments a) {
  for (u32 e = blockIdx.x * kThreads + threadIdx.x; e < a.walk.n; e += gridDim.x * kThreads) {
    i64 o[3];
    a.walk.offsets(e, o);
    const i64 number = a.index.checked(a.index.read(o[0]));
    atomicMax(a.winners.table + o[1] + number * a.winners.step, int(a.winners.first_tag + o[2]));
  }
}

bool one_value(const Tensor& t) {
  for (int d = 0; d < t.dim(); ++d)
    if (t.sizes()[d] != 1 && t.strides()[d] != 0) return false;
  return true;
}

// Strides of a dense table of the places: [sizes of the index with the extent along `first`], still along `first`.
Dims table_strides(const Put& p, i64& step, i64& places) {
  Dims strides = Dims::filled(p.index.dim(), 0);
  places = 1;
  step = 1;
  if (!p.lines) {
    for (int d = p.first; d < p.first + p.count; ++d) places *= p.x.sizes()[d];
    return strides;
  }
  for (int d = p.index.dim() - 1; d >= 0; --d) {
    if (d == p.first)
      step = places;
    else
      strides[d] = places;
    places *= d == p.first ? p.x.sizes()[d] : p.index.sizes()[d];
  }
  return strides;
}

}  // namespace

void put_last(const Put& p) {
  const Tensor target = p.target(), indices = p.indices();
  const i64 n = p.lines ? p.index.sizes()[p.first] : p.index.numel();
  WEFT_CHECK(n < i64{1} << 31, "index_put: {} indices for one dimension are too many", n);
  const bool any = n == 1 || one_value(p.values);  // the order makes no difference
  i64 step = 1, places = 0;
  const Dims table = table_strides(p, step, places);
  Dims tags = p.index.strides();  // an index_put's index is dense: the tag is the place in it
  if (p.lines) {
    tags = Dims::filled(p.index.dim(), 0);
    tags[p.first] = 1;
  }
  const Workspace memory(any ? 1 : size_t(places) * sizeof(int));
  const Winners winners{any ? nullptr : memory.as<int>(), step, 0};
  const auto geometry = [&](const Dims& strides) {
    return detail::alias(p.index, p.index.sizes(), strides, p.index.storage_offset());
  };
  if (!any) {
    check(cudaMemsetAsync(winners.table, 0xff, size_t(places) * sizeof(int), current_stream()), "put");
    in_parts(nest_of(p.index, {geometry(table), geometry(tags)}), [&](const LoopNest& nest) {
      IndexRef index = p.checks;
      index.data = nest.operands[0].data;
      launch(mark_winners, grid_for(nest.numel), kThreads, 0, current_stream(),
             MarkArguments{Walk<3>(nest), index, winners.part(nest, 1, p.index)});
    });
  }
  const auto whole = [&](const Dims& strides) {
    const Tensor t = geometry(strides);
    return p.lines ? t : spread(t, p.values.sizes(), p.first);
  };
  in_parts(nest_of(p.values, {indices, target, whole(table), whole(tags)}), [&](LoopNest nest) {
    Place place = p.place();
    const DType dtype = nest.operands[0].dtype;
    const bool packed = pack16(nest, place, 0b101);
    auto start = [&](auto w) {
      using W = typename decltype(w)::type;
      IndexRef index = p.checks;
      index.data = nest.operands[1].data;
      const PutArguments<W> a{Walk<5>(nest), static_cast<const W*>(nest.operands[0].data),
                              index,         static_cast<W*>(nest.operands[2].data),
                              place,         winners.part(nest, 3, p.index)};
      launch(put_elements<W>, grid_for_unrolled(nest.numel), kThreads, 0, current_stream(), a);
    };
    if (packed)
      start(Type<Pack16>{});
    else
      with_width(dtype, start);
  });
}

void index_put(const OpCall& c) {
  const auto& a = c.as<IndexPutOp::Attrs>();
  const Tensor &x = c.out[0], &linear = c.in[1], &values = c.in[2];
  if (values.numel() == 0 || x.numel() == 0) return;
  const Put put{x, linear, values, a.first, a.count, false, IndexRef(linear)};
  if (!a.accumulate) return put_last(put);
  const bool one = a.alpha.is_floating() ? a.alpha.f64() == 1 : a.alpha.to<int64_t>() == 1;
  put_folded(put, one ? Fold::add : Fold::scaled, a.alpha);
}

void scatter(const OpCall& c) {
  const auto& a = c.as<ScatterOp::Attrs>();
  const Tensor &x = c.out[0], &index = c.in[1], &values = c.in[2];
  if (index.numel() == 0) return;
  if (x.numel() == 0) {  // every index is out of range
    Tensor any = detail::allocate(index.sizes(), x.dtype(), x.device());
    const GatherOp::Attrs attrs{x.sizes(), a.dim};
    const Tensor in[2] = {x, index};
    return gather({c.op, in, 2, &any, 1, &attrs});
  }
  const Put put{x, index, values, a.dim, 1, true, IndexRef(index, x.sizes()[a.dim], c.op.name, a.dim)};
  if (a.mode == ScatterMode::set) return put_last(put);
  put_folded(put, a.mode == ScatterMode::add ? Fold::add : Fold::multiply, 1);
}

}  // namespace weft::gpu
