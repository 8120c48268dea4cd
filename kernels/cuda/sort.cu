#include "core/ops/sort.h"

#include "core/ops/copy.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/sort.cuh"
#include "kernels/cuda/sort_pairs.h"
#include "kernels/cuda/sort_select.h"

namespace weft::gpu {
namespace {

// ---- short lines: in shared memory, several to a block

constexpr u32 kShort = 4096;

template <class S>
__global__ void sort_short(SortLines a, u32 width, u32 lines, bool descending) {
  using E = Placed<S>;
  WEFT_DYNAMIC_SHARED(E, line);
  const S* x = static_cast<const S*>(a.x);
  for (i64 first = i64(blockIdx.x) * lines; first < a.rows; first += i64(gridDim.x) * lines) {
    __syncthreads();
    for (u32 i = threadIdx.x; i < lines * width; i += blockDim.x) {
      const u32 place = i & (width - 1);
      const i64 row = first + i / width;
      const bool real = row < a.rows && place < a.n;
      line[i] = placed<S>(real ? sort_key(x[row * a.n + place], descending) : ~SortKey<S>(0), place);
    }
    bitonic(line, lines * width, width);
    for (u32 i = threadIdx.x; i < lines * width; i += blockDim.x) {
      const u32 place = i & (width - 1);
      const i64 row = first + i / width;
      if (row < a.rows && place < a.k) a.write<S>(row, place, line[i].place());
    }
  }
}

template <class S>
void run_short(const SortLines& a, bool descending) {
  u32 width = 1;
  while (width < a.n) width *= 2;
  const u32 lines = width < 512 ? 512 / width : 1, total = lines * width;
  const i64 blocks = (a.rows + lines - 1) / lines;
  launch(sort_short<S>, dim3(unsigned(std::min<i64>(blocks, 1 << 16))), dim3(std::min(1024u, total / 2)),
         total * sizeof(Placed<S>), current_stream(), a, width, lines, descending);
}

// ---- long lines: a radix sort of all of them at once, by line and key

template <class S, class K>
__global__ void __launch_bounds__(kThreads)
    line_keys(const S* x, K* keys, u32* places, u32 n, Divider line, bool with_line, bool descending) {
  for (u32 e = blockIdx.x * kThreads + threadIdx.x; e < n; e += gridDim.x * kThreads) {
    K key = sort_key(x[e], descending);
    if constexpr (sizeof(K) > sizeof(SortKey<S>))
      if (with_line) key |= K(line.quotient(e)) << kKeyBits<S>;
    keys[e] = key;
    places[e] = e;
  }
}

__global__ void __launch_bounds__(kThreads) lines_of(const u32* places, u32* lines, u32 n, Divider line) {
  for (u32 e = blockIdx.x * kThreads + threadIdx.x; e < n; e += gridDim.x * kThreads)
    lines[e] = line.quotient(places[e]);
}

template <class S>
__global__ void __launch_bounds__(kThreads) write_lines(SortLines a, const u32* places) {
  const i64 n = a.rows * a.k;
  for (i64 e = i64(blockIdx.x) * kThreads + threadIdx.x; e < n; e += i64(gridDim.x) * kThreads) {
    const i64 row = e / a.k, at = e - row * a.k;
    a.write<S>(row, at, places[row * a.n + at] - row * a.n);
  }
}

template <class S, class K>
void run_radix(const SortLines& a, bool descending) {
  const u32 n = u32(a.rows * a.n);
  const Divider line{u32(a.n)};
  const Workspace memory(size_t(n) * (2 * sizeof(K) + 2 * sizeof(u32)));
  K* keys = memory.as<K>();
  u32* places = reinterpret_cast<u32*>(keys + 2 * size_t(n));
  const bool with_line = a.rows > 1 && sizeof(K) > sizeof(SortKey<S>);
  launch(line_keys<S, K>, grid_for(n), kThreads, 0, current_stream(), static_cast<const S*>(a.x), keys, places, n, line,
         with_line, descending);
  sort_pairs(keys, keys + n, places, places + n, n, kKeyBits<S> + (with_line ? bits_for(u64(a.rows)) : 0));
  u32* sorted = places + n;
  if (a.rows > 1 && !with_line) {  // no room beside the key: stable by line, as a second sort
    u32* lines = reinterpret_cast<u32*>(keys);
    launch(lines_of, grid_for(n), kThreads, 0, current_stream(), sorted, lines, n, line);
    sort_pairs(lines, lines + n, sorted, places, n, bits_for(u64(a.rows)));
    sorted = places;
  }
  launch(write_lines<S>, grid_for(a.rows * a.k), kThreads, 0, current_stream(), a, sorted);
}

template <class S>
void run_long(const SortLines& all, bool descending) {
  WEFT_CHECK(all.n < i64{1} << 31, "sort: {} elements in a line are too many", all.n);
  const i64 most = std::max<i64>(1, ((i64{1} << 31) - 1) / all.n);
  for (i64 row = 0; row < all.rows; row += most) {
    const SortLines a = all.rows_from(row, std::min(most, all.rows - row), sizeof(S));
    if constexpr (sizeof(S) <= 4) {
      if (a.rows == 1) {
        run_radix<S, u32>(a, descending);
        continue;
      }
    }
    run_radix<S, u64>(a, descending);
  }
}

// t with dimension `dim` last, dense; `dim` last already: t itself.
Tensor turned(const Tensor& t, int dim) {
  Dims sizes = t.sizes(), strides = t.strides();
  const i64 size = sizes[dim], stride = strides[dim];
  sizes.erase(dim);
  strides.erase(dim);
  sizes.push_back(size);
  strides.push_back(stride);
  return detail::alias(t, sizes, strides, t.storage_offset());
}
void copy_into(Tensor to, const Tensor& from) {
  const CopyOp::Attrs attrs{};
  copy({CopyOp::record, &from, 1, &to, 1, &attrs});
}

}  // namespace

void sort(const OpCall& c) {
  if (c.out[0].numel() == 0) return;
  const auto& attrs = c.as<SortOp::Attrs>();
  Tensor x = turned(c.in[0], attrs.dim), out[2];
  if (!x.is_contiguous()) {
    const Tensor dense = detail::allocate(x.sizes(), x.dtype(), x.device());
    copy_into(dense, x);
    x = dense;
  }
  for (int i = 0; i < 2; ++i) {
    out[i] = turned(c.out[i], attrs.dim);
    if (!out[i].is_contiguous()) out[i] = detail::allocate(out[i].sizes(), out[i].dtype(), out[i].device());
  }
  const i64 n = x.sizes().back();
  const SortLines lines{x.impl()->data, out[0].impl()->data, static_cast<i64*>(out[1].impl()->data), x.numel() / n, n,
                        attrs.k};
  with_dtype(x.dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    if (n <= kShort) return run_short<S>(lines, attrs.descending);
    if (select_lines(lines, x.dtype(), attrs.descending)) return;
    run_long<S>(lines, attrs.descending);
  });
  for (int i = 0; i < 2; ++i)
    if (out[i].impl()->data != c.out[i].impl()->data) copy_into(turned(c.out[i], attrs.dim), out[i]);
}

}  // namespace weft::gpu
