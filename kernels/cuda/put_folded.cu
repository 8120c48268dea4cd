#include "kernels/cuda/allocator.h"
#include "kernels/cuda/put.cuh"
#include "kernels/cuda/sort_pairs.h"

// Sums (or products) at indexed places, in the order of the indices and rounded after every step, as on the host: the
// places are sorted, and one thread goes through what meets in one place.
namespace weft::gpu {
namespace {

template <class S>
struct Folder {
  Fold fold;
  Wide<S> alpha;

  Folder(Fold f, Scalar a) : fold(f), alpha{} {
    if constexpr (std::is_same_v<S, Bool>)
      alpha.v = a.truth();
    else
      alpha = a.to<Wide<S>>();
  }
  WEFT_FN S operator()(S p, S v) const {
    if constexpr (std::is_same_v<S, Bool>) {
      const bool a = p.v != 0, b = v.v != 0;
      return Bool{uint8_t(fold == Fold::add ? a || b : fold == Fold::scaled ? a || (b && alpha.v != 0) : a && b)};
    } else if constexpr (std::is_same_v<S, int32_t> || std::is_same_v<S, int64_t>) {
      using U = std::make_unsigned_t<S>;
      const U a = U(p), b = U(v);
      return S(fold == Fold::add ? a + b : fold == Fold::scaled ? a + U(alpha) * b : a * b);
    } else {
      const Wide<S> a = load<S>(p), b = load<S>(v);
      return store<S>(static_cast<Wide<S>>(fold == Fold::add ? a + b : fold == Fold::scaled ? a + alpha * b : a * b));
    }
  }
};

/// One unit of memory: an element, or a pack of them.
template <class S, int Count>
struct alignas(Count * sizeof(S)) Unit {
  S v[Count];
  WEFT_FN void fold(const Folder<S>& f, const Unit& other) {
#pragma unroll
    for (int i = 0; i < Count; ++i) v[i] = f(v[i], other.v[i]);
  }
};

// ---- lines: a thread goes along each line of a scatter

template <class S>
struct LineArguments {
  Walk<3> walk;  // values, index, x: all dimensions but the named one
  const S* values;
  IndexRef index;
  S* x;
  i64 n, value_step, index_step, x_step;
  Folder<S> folder;
};

template <class S>
__global__ void __launch_bounds__(kThreads) fold_lines(LineArguments<S> a) {
  for (u32 e = blockIdx.x * kThreads + threadIdx.x; e < a.walk.n; e += gridDim.x * kThreads) {
    i64 o[3];
    a.walk.offsets(e, o);
    for (i64 base = 0; base < a.n; base += kUnroll) {
      i64 number[kUnroll];
      S value[kUnroll];
#pragma unroll
      for (int k = 0; k < kUnroll; ++k) {
        if (base + k >= a.n) continue;
        number[k] = a.index.read(o[1] + (base + k) * a.index_step);
        value[k] = a.values[o[0] + (base + k) * a.value_step];
      }
#pragma unroll
      for (int k = 0; k < kUnroll; ++k) {
        if (base + k >= a.n) continue;
        S& place = a.x[o[2] + a.index.checked(number[k]) * a.x_step];
        place = a.folder(place, value[k]);
      }
    }
  }
}

Tensor without(const Tensor& t, int dim) {
  Dims sizes = t.sizes(), strides = t.strides();
  sizes.erase(dim);
  strides.erase(dim);
  return detail::alias(t, sizes, strides, t.storage_offset());
}

// False: the lines are long and few.
bool run_lines(const Put& p, Fold fold, Scalar alpha) {
  const i64 n = p.index.sizes()[p.first], lines = p.index.numel() / n;
  constexpr i64 kShort = 64, kMany = 1 << 15;
  if (n > kShort && !(lines >= kMany && (p.index.strides()[p.first] > 1 || n <= 1024))) return false;
  const Tensor x = p.target();
  in_parts(nest_of(without(p.values, p.first), {without(p.index, p.first), without(x, p.first)}),
           [&](const LoopNest& nest) {
             with_dtype(p.x.dtype(), [&](auto s) {
               using S = typename decltype(s)::type;
               IndexRef index = p.checks;
               index.data = nest.operands[1].data;
               const LineArguments<S> a{Walk<3>(nest),
                                        static_cast<const S*>(nest.operands[0].data),
                                        index,
                                        static_cast<S*>(nest.operands[2].data),
                                        n,
                                        p.values.strides()[p.first],
                                        p.index.strides()[p.first],
                                        p.x.strides()[p.first],
                                        Folder<S>(fold, alpha)};
               launch(fold_lines<S>, grid_for(nest.numel), kThreads, 0, current_stream(), a);
             });
           });
  return true;
}

// ---- integers wrap: their sums do not depend on the order

template <class S>
struct AtomicArguments {
  Walk<3> walk;  // values, index, x
  const S* values;
  IndexRef index;
  S* x;
  Place place;
  std::make_unsigned_t<S> alpha;
};

template <class S>
__global__ void __launch_bounds__(kThreads) add_integers(AtomicArguments<S> a) {
  using U = std::conditional_t<sizeof(S) == 4, unsigned, unsigned long long>;
  for (u32 e = blockIdx.x * kThreads + threadIdx.x; e < a.walk.n; e += gridDim.x * kThreads) {
    i64 o[3];
    a.walk.offsets(e, o);
    S* to = a.x + o[2] + a.place.offset(a.index.checked(a.index.read(o[1])));
    atomicAdd(reinterpret_cast<U*>(to), U(a.values[o[0]]) * U(a.alpha));
  }
}

template <class S>
void run_integers(const Put& p, Scalar alpha) {
  in_parts(nest_of(p.values, {p.indices(), p.target()}), [&](const LoopNest& nest) {
    IndexRef index = p.checks;
    index.data = nest.operands[1].data;
    const AtomicArguments<S> a{Walk<3>(nest), static_cast<const S*>(nest.operands[0].data),
                               index,         static_cast<S*>(nest.operands[2].data),
                               p.place(),     std::make_unsigned_t<S>(alpha.to<S>())};
    launch(add_integers<S>, grid_for(nest.numel), kThreads, 0, current_stream(), a);
  });
}

// ---- places in order: keys are numbers of places, the values sorted with them positions in the index

template <class K>
struct KeyArguments {
  Walk<2> walk;  // index, table of places
  IndexRef index;
  i64 step;
  K* keys;
  u32* positions;
};

template <class K>
__global__ void __launch_bounds__(kThreads) make_keys(KeyArguments<K> a) {
  for (u32 e = blockIdx.x * kThreads + threadIdx.x; e < a.walk.n; e += gridDim.x * kThreads) {
    i64 o[2];
    a.walk.offsets(e, o);
    a.keys[e] = K(o[1] + a.index.checked(a.index.read(o[0])) * a.step);
    a.positions[e] = e;
  }
}

template <class K, class S, int Count>
struct RunArguments {
  const K* keys;
  const u32* positions;
  u32 n;
  Walk<3> inside;  // values, index, x of one position of the index (a scatter: of all of them)
  Walk<1> at;      // values at a position
  u32 repeats;     // elements of `inside`
  bool positions_first;
  bool lines;
  Divider split;  // of the threads: by repeats or by positions
  const Unit<S, Count>* values;
  IndexRef index;
  Unit<S, Count>* x;
  Place place;
  Folder<S> folder;
};

// A thread for each position and each element there; those of the first position of a place do its work.
template <class K, class S, int Count>
__global__ void __launch_bounds__(kThreads) fold_runs(RunArguments<K, S, Count> a) {
  constexpr int kAhead = 8;
  const i64 threads = i64(a.n) * a.repeats;
  for (i64 t = i64(blockIdx.x) * kThreads + threadIdx.x; t < threads; t += i64(gridDim.x) * kThreads) {
    u32 p, inside = 0;
    if (a.repeats == 1) {
      p = u32(t);
    } else if (threads < i64{1} << 31) {
      const u32 quotient = a.split.quotient(u32(t)), rest = u32(t) - quotient * a.split.divisor;
      p = a.positions_first ? rest : quotient;
      inside = a.positions_first ? quotient : rest;
    } else {
      p = u32(a.positions_first ? t % a.n : t / a.repeats);
      inside = u32(a.positions_first ? t / a.n : t % a.repeats);
    }
    const K key = a.keys[p];
    if (p > 0 && a.keys[p - 1] == key) continue;
    const u32 first = a.positions[p];
    i64 o[3];
    a.inside.offsets(a.lines ? first : inside, o);
    const i64 base = a.lines ? 0 : o[0];
    const i64 number = a.lines ? a.index.checked(a.index.read(o[1])) : i64(key);
    Unit<S, Count>* to = a.x + o[2] + a.place.offset(number);
    Unit<S, Count> sum = *to;
    for (u32 q = p; q < a.n && a.keys[q] == key;) {
      if (q + kAhead <= a.n && a.keys[q + kAhead - 1] == key) {
        Unit<S, Count> values[kAhead];
#pragma unroll
        for (int k = 0; k < kAhead; ++k) {
          i64 from;
          a.at.offsets(a.positions[q + k], &from);
          values[k] = a.values[base + from];
        }
#pragma unroll
        for (int k = 0; k < kAhead; ++k) sum.fold(a.folder, values[k]);
        q += kAhead;
      } else {
        i64 from;
        a.at.offsets(a.positions[q], &from);
        sum.fold(a.folder, a.values[base + from]);
        ++q;
      }
    }
    *to = sum;
  }
}

template <class K>
struct Sorted {
  i64 n;
  Workspace memory;
  K* keys;
  u32* positions;

  explicit Sorted(i64 count)
      : n(count),
        memory(size_t(count) * 2 * (sizeof(K) + sizeof(u32)) + 16),
        keys(memory.as<K>()),
        positions(reinterpret_cast<u32*>(memory.as<K>() + 2 * count)) {}
  void sort(int bits) {
    sort_pairs(keys, keys + n, positions, positions + n, n, bits);
    keys += n;
    positions += n;
  }
};

template <class K, class S, int Count>
void start_runs(const Put& p, const Sorted<K>& sorted, const LoopNest& inside, const LoopNest& at, const Place& place,
                bool positions_first, Folder<S> folder) {
  const i64 repeats = p.lines ? 1 : inside.numel;
  RunArguments<K, S, Count> a{sorted.keys,
                              sorted.positions,
                              u32(sorted.n),
                              Walk<3>(inside),
                              Walk<1>(at),
                              u32(repeats),
                              positions_first,
                              p.lines,
                              Divider(u32(positions_first ? sorted.n : repeats)),
                              static_cast<const Unit<S, Count>*>(inside.operands[0].data),
                              p.checks,
                              static_cast<Unit<S, Count>*>(inside.operands[2].data),
                              place,
                              folder};
  a.index.data = inside.operands[1].data;
  launch(fold_runs<K, S, Count>, grid_for(sorted.n * repeats), kThreads, 0, current_stream(), a);
}

// Dimensions [from, to) of t alone.
Tensor part(const Tensor& t, int from, int to) {
  const size_t n = size_t(to - from);
  return detail::alias(t, Dims(t.sizes().data() + from, n), Dims(t.strides().data() + from, n), t.storage_offset());
}

template <class K>
void run_sorted(const Put& p, i64 places, Fold fold, Scalar alpha) {
  Sorted<K> sorted(p.index.numel());
  // A scatter's places: a dense table of the index's sizes with x's size along the named dimension.
  Dims table = Dims::filled(p.index.dim(), 0);
  i64 step = 1;
  if (p.lines) {
    i64 size = 1;
    for (int d = p.index.dim() - 1; d >= 0; --d) {
      (d == p.first ? step : table[d]) = size;
      size *= d == p.first ? p.x.sizes()[d] : p.index.sizes()[d];
    }
  }
  // In the order of the index's memory: positions of one line rise with it.
  const Tensor places_of = detail::alias(p.index, p.index.sizes(), table, p.index.storage_offset());
  const LoopNest numbering = nest_of(p.index, {places_of});
  launch(make_keys<K>, grid_for(sorted.n), kThreads, 0, current_stream(),
         KeyArguments<K>{Walk<2>(numbering), p.checks, step, sorted.keys, sorted.positions});
  sorted.sort(bits_for(u64(places)));

  if (p.lines) {
    const Tensor target = p.target();
    const LoopNest inside = nest_of(p.index, {p.values, target});  // numbered alike
    LoopNest turned = nest_of(p.index, {p.values, p.index, target});
    for (int k = 0; k < 3; ++k) turned.operands[k] = turned.operands[k + 1];
    LoopNest at = inside;
    at.operands[0] = at.operands[1];
    with_dtype(p.x.dtype(), [&](auto s) {
      using S = typename decltype(s)::type;
      start_runs<K, S, 1>(p, sorted, turned, at, p.place(), false, Folder<S>(fold, alpha));
    });
    return;
  }

  // Of one position: the dimensions of x that are not indexed.
  const int after = p.first + p.index.dim();
  Tensor values = detail::alias(p.values, standing(p.values, p.first, p.index.dim(), {}).sizes(),
                                standing(p.values, p.first, p.index.dim(), {}).strides(), p.values.storage_offset());
  const Tensor target = standing(p.x, p.first, p.count, {});
  LoopNest at = nest_of(part(p.index, 0, p.index.dim()), {part(p.values, p.first, after)});
  at.operands[0] = at.operands[1];
  LoopNest inside = nest_of(values, {values, target});
  WEFT_CHECK(inside.numel < i64{1} << 31, "index_put: values {} are too large", p.values);
  Place place = p.place();
  with_dtype(p.x.dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    // 16 bytes at once for what training folds.
    constexpr bool kPacks = std::is_same_v<K, u32> && (std::is_same_v<S, float> || is_half_type<S>);
    constexpr int kCount = kPacks ? Pack<S>::kCount : 1;
    bool packs = kPacks;
    for (int d = 0; d < at.dims; ++d) packs &= at.operands[0].strides[d] % kCount == 0;
    for (int d = 0; d < inside.dims; ++d) inside.operands[1].strides[d] = 0;
    const bool positions_first = inside.sizes[inside.dims - 1] < 8;
    if (packs && pack16(inside, place, 0b101)) {
      for (int d = 0; d < at.dims; ++d) at.operands[0].strides[d] /= kCount;
      start_runs<K, S, kCount>(p, sorted, inside, at, place, positions_first, Folder<S>(fold, alpha));
    } else {
      start_runs<K, S, 1>(p, sorted, inside, at, place, positions_first, Folder<S>(fold, alpha));
    }
  });
}

}  // namespace

void put_folded(const Put& p, Fold fold, Scalar alpha) {
  if (fold != Fold::multiply) {
    if (p.x.dtype() == DType::i32) return run_integers<int32_t>(p, alpha);
    if (p.x.dtype() == DType::i64) return run_integers<int64_t>(p, alpha);
  }
  if (p.lines && run_lines(p, fold, alpha)) return;
  WEFT_CHECK(p.index.numel() < i64{1} << 31, "{}: sums over {} are not supported; use fewer indices at once",
             p.lines ? "scatter" : "index_put", p.index);
  i64 places = 1;
  if (p.lines) {
    for (int d = 0; d < p.index.dim(); ++d) places *= d == p.first ? p.x.sizes()[d] : p.index.sizes()[d];
  } else {
    for (int d = p.first; d < p.first + p.count; ++d) places *= p.x.sizes()[d];
  }
  if (places <= i64{1} << 32)
    run_sorted<u32>(p, places, fold, alpha);
  else
    run_sorted<u64>(p, places, fold, alpha);
}

}  // namespace weft::gpu
