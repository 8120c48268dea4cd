#include "core/ops/extreme.h"

#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/reduce_block.h"
#include "kernels/cpu/reduce_plan.h"

namespace weft::cpu {
namespace {

namespace r = reduction;

constexpr int64_t kGrain = 32768;
constexpr int kTile = 1024;

template <class Combine, class Acc>
struct Found {
  Acc value = Combine::identity();
  int64_t index = -1;
  // Later places win only if strictly better.
  void add(Acc v, int64_t at) {
    bool better = index < 0 || (math::isnan(v) && !math::isnan(value)) ||
                  (v != value && !math::isnan(value) && Combine::combine(v, value) == v);
    if (better) value = v, index = at;
  }
};

// The first place of the best of n <= 1024 elements, unless that is no better than `than`.
template <class Combine, class Acc>
void search(const Acc* p, int64_t n, int64_t first, Found<Combine, Acc>& than) {
  const Acc best = reduce_block<Combine>(p, n);
  Found<Combine, Acc> before = than;
  than.add(best, first);
  if (than.index == before.index) return;
  const bool nan = math::isnan(best);
  int64_t i = 0;
  // Whole vectors that do not hold it.
  for (; i + r::kLanes <= n; i += r::kLanes) {
    int here = 0;
    for (int j = 0; j < r::kLanes; ++j) here |= (p[i + j] == best) | (nan & (p[i + j] != p[i + j]));
    if (here) break;
  }
  while (!(p[i] == best || (nan && p[i] != p[i]))) ++i;
  than.index = first + i;
}

// Parts of `kPart` elements, so that few long rows still spread over threads.
template <class Combine, class Acc>
void by_rows(const ReducePlan& p, Acc* values, int64_t* indices) {
  constexpr int64_t kPart = 64 * r::kBlock;
  const bool direct = p.rows_direct();
  const Acc* base = reinterpret_cast<const Acc*>(p.base);
  const int64_t parts = (p.n + kPart - 1) / kPart;
  std::vector<Found<Combine, Acc>> found(static_cast<size_t>(p.results * parts));
  parallel_for(p.results * parts, std::max<int64_t>(1, kGrain / std::min(p.n, kPart)), [&](int64_t begin, int64_t end) {
    Acc staged[r::kBlock];
    for (int64_t u = begin; u < end; ++u) {
      const int64_t result = u / parts, part = u % parts * kPart, place = p.place(result);
      for (int64_t first = part; first < std::min(p.n, part + kPart); first += r::kBlock) {
        const int64_t count = std::min(r::kBlock, p.n - first);
        const Acc* x = staged;
        if (direct)
          x = base + place + first;
        else
          p.gather(staged, result, first, count);
        search(x, count, first, found[static_cast<size_t>(u)]);
      }
    }
  });
  for (int64_t k = 0; k < p.results; ++k) {
    Found<Combine, Acc> best;
    for (int64_t b = 0; b < parts; ++b) {
      const auto& f = found[static_cast<size_t>(k * parts + b)];
      best.add(f.value, f.index);
    }
    values[k] = best.value;
    indices[k] = best.index;
  }
}

// Neighbouring columns at once; Index is as wide as Acc, so that both fill registers alike.
template <class Combine, class Acc, class Index>
void by_columns(const ReducePlan& p, Acc* values, int64_t* indices) {
  const Acc* base = reinterpret_cast<const Acc*>(p.base);
  const int64_t width = p.kept_sizes.back(), tiles = (width + kTile - 1) / kTile, step = p.reduced_strides[0];
  const bool direct = p.plain() && p.reduced_sizes.size() == 1;
  parallel_for(p.results / width * tiles, std::max<int64_t>(1, kGrain / (p.n * std::min<int64_t>(width, kTile))),
               [&](int64_t begin, int64_t end) {
                 Acc best[kTile], staged[kTile];
                 Index at[kTile];
                 for (int64_t u = begin; u < end; ++u) {
                   int64_t column = u % tiles * kTile, result = u / tiles * width + column;
                   int count = static_cast<int>(std::min<int64_t>(kTile, width - column));
                   const Acc* x = base + p.place(result);
                   for (int64_t i = 0; i < p.n; ++i) {
                     const Acc* row = x + i * step;
                     if (!direct) {
                       p.gather_row(staged, result, i, count);
                       row = staged;
                     }
                     if (i == 0) {
                       for (int c = 0; c < count; ++c) best[c] = row[c], at[c] = 0;
                       continue;
                     }
                     const Index here = static_cast<Index>(i);
                     WEFT_VECTOR_LOOP
                     for (int c = 0; c < count; ++c) {
                       Acc v = row[c], b = best[c];
                       bool take = ((Combine::combine(v, b) == v) & (v != b) & (b == b)) | ((v != v) & (b == b));
                       best[c] = take ? v : b;
                       at[c] = take ? here : at[c];
                     }
                   }
                   for (int c = 0; c < count; ++c) values[result + c] = best[c], indices[result + c] = at[c];
                 }
               });
}

template <class Combine, class Acc>
void run(const OpCall& c, DType acc) {
  const Tensor& x = c.in[0];
  const Tensor& places = c.out[c.n_out - 1];
  const int64_t results = places.numel();
  if (results == 0) return;
  const bool wanted = c.n_out == 2;
  const bool staged = !wanted || c.out[0].dtype() != acc;
  std::vector<Acc> own(staged ? static_cast<size_t>(results) : 0);
  Acc* values = staged ? own.data() : static_cast<Acc*>(c.out[0].data_ptr());
  ReducePlan plan(x, c.as<ReduceAttrs>().mask, acc);
  if (plan.by_columns() && plan.n < INT32_MAX)
    by_columns<Combine, Acc, std::conditional_t<sizeof(Acc) == 4, int32_t, int64_t>>(plan, values,
                                                                                     places.data<int64_t>());
  else
    by_rows<Combine>(plan, values, places.data<int64_t>());
  if (wanted && staged) converter(c.out[0].dtype(), acc)(c.out[0].data_ptr(), 1, values, 1, results);
}

template <template <class> class Combine>
void find(const OpCall& c) {
  DType acc = accumulator(c.in[0].dtype());
  if (acc == DType::f32)
    run<Combine<float>, float>(c, acc);
  else if (acc == DType::f64)
    run<Combine<double>, double>(c, acc);
  else
    run<Combine<int64_t>, int64_t>(c, acc);
}

}  // namespace

void max_index(const OpCall& c) { find<r::Max>(c); }
void min_index(const OpCall& c) { find<r::Min>(c); }

}  // namespace weft::cpu
