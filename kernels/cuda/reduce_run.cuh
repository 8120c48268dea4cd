#pragma once

#include <algorithm>

#include "core/dispatch.h"
#include "kernels/cpu/reduce_plan.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/reduce_kernels.cuh"

// How a reduction is cut into launches.
namespace weft::gpu {

/// One reduction: result k of `plan`, ended as `ends` says.
template <class Acc>
struct Reduction {
  const cpu::ReducePlan& plan;
  Ends<Acc> ends;
  NumberOf<Acc> parameter = NumberOf<Acc>(1);

  /// Of the smallest instead of the largest (see turn()).
  Reduction turned(bool smallest) const {
    Reduction r = *this;
    r.ends.turned = smallest;
    r.parameter = NumberOf<Acc>(smallest ? 0 : 1);
    return r;
  }
};

inline int log_of(int64_t power) {
  int log = 0;
  while ((int64_t{1} << log) < power) ++log;
  return log;
}

inline Steps steps_of(const Dims& sizes, const Dims& strides) {
  Steps s;
  s.dims = sizes.size();
  for (int d = 0; d < s.dims; ++d) {
    s.sizes[d] = Quotient(sizes[d]);
    s.strides[d] = strides[d];
  }
  return s;
}

inline dim3 grid_of(int64_t blocks) { return dim3(unsigned(std::clamp<int64_t>(blocks, 1, 1 << 30))); }

template <class Acc>
ReduceArguments<Acc> arguments_of(const Reduction<Acc>& r) {
  const cpu::ReducePlan& p = r.plan;
  ReduceArguments<Acc> a{};
  a.in = p.base;
  a.dtype = p.dtype;
  a.kept = steps_of(p.kept_sizes, p.kept_strides);
  a.reduced = steps_of(p.reduced_sizes, p.reduced_strides);
  a.results = p.results;
  a.n = a.length = p.n;
  a.blocks = 1;
  a.parameter = r.parameter;
  a.ends = r.ends;
  return a;
}

/// The results of blocks as one more reduction: n of each of `results`, next to each other or (columns) `results`
/// apart.
template <class Acc>
ReduceArguments<Acc> arguments_of_blocks(const ReduceArguments<Acc>& first, const Acc* partial, bool columns) {
  ReduceArguments<Acc> a{};
  const int64_t n = first.blocks, results = first.results;
  a.in = partial;
  a.kept = steps_of({results}, {columns ? 1 : n});
  a.reduced = steps_of({n}, {columns ? results : 1});
  a.results = results;
  a.n = a.length = n;
  a.blocks = 1;
  a.parameter = first.parameter;
  a.ends = first.ends;
  a.width = results;
  return a;
}

// ---- rows

template <class R, class S, int V>
void launch_pieces(ReduceArguments<typename R::Acc>& a) {
  constexpr int kGroup = 32 / V;
  const int64_t units = a.results * a.blocks, enough = 2 * device_facts().multiprocessors;
  a.by_blocks = Quotient(a.blocks);
  const int64_t needed = (a.n + V - 1) / V;
  const int group = int(needed >= kGroup ? kGroup : int64_t{1} << log_of(needed));
  a.group_log = log_of(group);
  int threads = kReduceThreads;
  if (a.blocks == 1 && a.n <= 32) {
    while (threads > 32 && a.results * group / 4 < threads * enough) threads /= 2;
    const int64_t here = threads / group * 4;
    return launch(reduce_short_rows<R, S, V>, grid_of((units + here - 1) / here), threads, 0, current_stream(), a);
  }
  while (threads > 32 && units * group < threads * enough) threads /= 2;
  const int64_t here = threads / group;
  launch(reduce_pieces<R, S, V>, grid_of((units + here - 1) / here), threads, 0, current_stream(), a);
}

template <class R>
void reduce_blocks_of_rows(const ReduceArguments<typename R::Acc>& first, const typename R::Acc* partial) {
  using Acc = typename R::Acc;
  auto a = arguments_of_blocks(first, partial, false);
  if (a.n >= 1024 && a.results <= 16 * device_facts().multiprocessors)
    return launch(reduce_long_row<R>, dim3(unsigned(a.results)), kLongRowThreads, 0, current_stream(), a);
  launch_pieces<R, Acc, 1>(a);
}

template <class R, class S, int V>
void reduce_by_rows(const Reduction<typename R::Acc>& r) {
  using Acc = typename R::Acc;
  auto a = arguments_of(r);
  if (a.n <= order::kBlock) return launch_pieces<R, S, V>(a);
  const int64_t enough = 4 * device_facts().multiprocessors;
  constexpr int kGroup = 32 / V, kSlots = std::max(kReduceThreads / kGroup, 32);
  a.length = order::kBlock;
  a.blocks = order::block_count(a.n);
  a.group_log = log_of(kGroup);
  if (a.blocks <= kSlots || a.results >= enough) {
    const int64_t most = std::max<int64_t>(1, kSlots / a.blocks);
    a.rows = int(std::clamp<int64_t>(a.results / enough, 1, most));
    a.by_blocks = Quotient(a.blocks);
    const int threads = int(std::clamp<int64_t>(int64_t{1} << log_of(a.rows * a.blocks * kGroup), 32, kReduceThreads));
    return launch(reduce_rows<R, S, V>, grid_of((a.results + a.rows - 1) / a.rows), threads, 0, current_stream(), a);
  }
  Workspace partial(size_t(a.results * a.blocks) * sizeof(Acc));
  a.partial = partial.template as<Acc>();
  launch_pieces<R, S, V>(a);
  reduce_blocks_of_rows<typename R::Again>(a, a.partial);
}

// ---- columns

template <class R, class S, int V, int L>
void launch_columns(ReduceArguments<typename R::Acc>& a) {
  const int64_t enough = 2 * device_facts().multiprocessors, outer = a.results / a.width * a.blocks;
  const int64_t columns = (a.width + V - 1) / V;
  const int lanes = std::max(order::tree_width(a.n), L) / L;
  int64_t across = std::min<int64_t>(int64_t{1} << log_of(columns), kReduceThreads / lanes);
  while (across * V * int64_t(sizeof(Raw<R, S>)) > 32 && outer * ((columns + across - 1) / across) < enough / 2)
    across /= 2;
  const int64_t tiles = (columns + across - 1) / across;
  a.units = outer * tiles;
  int64_t deep = kReduceThreads / (across * lanes);
  while (deep > 1 && (a.units < deep * enough || deep > a.units)) deep /= 2;
  a.across_log = log_of(across);
  a.lanes_log = log_of(lanes);
  a.deep_log = log_of(deep);
  a.by_tiles = Quotient(tiles);
  a.by_blocks = Quotient(a.blocks);
  launch(reduce_columns<R, S, V, L>, grid_of((a.units + deep - 1) / deep), unsigned(across * lanes * deep), 0,
         current_stream(), a);
}

// Few lanes of a thread where there are few columns, so that there is enough to do at once.
template <class R, class S, int V>
void launch_columns(ReduceArguments<typename R::Acc>& a) {
  constexpr int L = kMostLanes<typename R::Acc, V>;
  if constexpr (L > 1 && V > 1) {
    const int64_t columns = (a.width + V - 1) / V, across = kReduceThreads * L / 32;
    const int64_t blocks = a.results / a.width * a.blocks * ((columns + across - 1) / across);
    if (a.n > 16 && (columns < across || blocks < 2 * device_facts().multiprocessors))
      return launch_columns<R, S, V, 1>(a);
  }
  launch_columns<R, S, V, L>(a);
}

template <class R>
void reduce_blocks_of_columns(const ReduceArguments<typename R::Acc>& first, const typename R::Acc* partial) {
  using Acc = typename R::Acc;
  auto a = arguments_of_blocks(first, partial, true);
  constexpr int V = sizeof(Acc) < 16 ? 16 / sizeof(Acc) : 1;
  if (a.results % V == 0) return launch_columns<R, Acc, V>(a);
  if constexpr (V > 1) launch_columns<R, Acc, 1>(a);
}

template <class R, class S, int V>
void reduce_by_columns(const Reduction<typename R::Acc>& r) {
  using Acc = typename R::Acc;
  auto a = arguments_of(r);
  a.width = r.plan.kept_sizes.back();
  a.length = std::min(a.n, order::kBlock);
  a.blocks = order::block_count(a.n);
  if (a.blocks == 1) return launch_columns<R, S, V>(a);
  Workspace partial(size_t(a.results * a.blocks) * sizeof(Acc));
  a.partial = partial.template as<Acc>();
  launch_columns<R, S, V>(a);
  reduce_blocks_of_columns<typename R::Again>(a, a.partial);
}

// ---- both

/// Every access to V elements from a multiple of V on is aligned and inside one run. The innermost dimension is among
/// the kept ones (columns) or the reduced ones.
inline bool in_packs(const cpu::ReducePlan& p, int64_t v, bool columns) {
  if (reinterpret_cast<uintptr_t>(p.base) % size_t(v * p.item) != 0) return false;
  auto fits = [v](const Dims& sizes, const Dims& strides, bool innermost) {
    for (int d = 0; d < sizes.size(); ++d) {
      const bool last = innermost && d == sizes.size() - 1;
      if (last ? strides[d] != 1 || sizes[d] % v != 0 : sizes[d] > 1 && strides[d] % v != 0) return false;
    }
    return true;
  };
  return fits(p.kept_sizes, p.kept_strides, columns) && fits(p.reduced_sizes, p.reduced_strides, !columns);
}

template <class R, class S>
void reduce_from(const Reduction<typename R::Acc>& r) {
  const cpu::ReducePlan& p = r.plan;
  const bool columns = p.n > 0 && p.by_columns();
  if constexpr (!std::is_same_v<S, AnyElement>) {
    constexpr int kMost = 128 / sizeof(typename R::Acc), kFull = int(16 / sizeof(S));
    constexpr int kRow = std::min(kRowElements<S>, kMost), kAcross = std::min(kFull, kMost);
    if constexpr (kAcross > 1)
      if (columns && p.n > 0 && in_packs(p, kAcross, true)) return reduce_by_columns<R, S, kAcross>(r);
    if constexpr (kRow > 1)
      if (!columns && p.n > 0 && in_packs(p, kRow, false)) return reduce_by_rows<R, S, kRow>(r);
  }
  if (columns) return reduce_by_columns<R, S, 1>(r);
  reduce_by_rows<R, S, 1>(r);
}

/// Launches everything that gives the results of `r`: of elements of types S by kernels of their own, of all others by
/// one that looks at the dtype of each.
template <class R, class... S>
void reduce(const Reduction<typename R::Acc>& r) {
  if (r.plan.results == 0) return;
  const bool done = ((r.plan.dtype == kDTypeOf<S> && (reduce_from<R, S>(r), true)) || ...);
  if (!done) reduce_from<R, AnyElement>(r);
}

}  // namespace weft::gpu
