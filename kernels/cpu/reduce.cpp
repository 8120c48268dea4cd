#include "core/ops/reduce.h"
#include "core/ops/statistics.h"

#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/cpu/reduce_block.h"
#include "kernels/cpu/reduce_plan.h"
#include "kernels/cpu/scratch.h"

namespace weft::cpu {
namespace {

namespace r = reduction;

constexpr int64_t kGrain = 32768;  // elements a thread takes at a time
constexpr int64_t kTile = 1024;    // columns side by side: a page of f32, so that memory is read in long runs

template <class Combine, class Acc>
void by_rows(const ReducePlan& p, Acc* out) {
  const Acc* base = reinterpret_cast<const Acc*>(p.base);
  const bool direct = p.rows_direct();
  const int64_t blocks = r::block_count(p.n);
  if (direct && p.n < r::kLanes && p.kept_sizes.size() == 1) {
    const int64_t step = p.kept_strides[0];
    return parallel_for(p.results, kGrain / p.n, [&](int64_t begin, int64_t end) {
      const Acc* x = base + begin * step;
      r::rows<Combine, Acc>(
          end - begin, p.n, [=](int64_t row, int64_t i) { return x[row * step + i]; },
          [=](int64_t row, Acc value) { out[begin + row] = value; });
    });
  }
  std::vector<Acc> partial(blocks > 1 ? static_cast<size_t>(p.results * blocks) : 0);
  Acc* to = blocks > 1 ? partial.data() : out;
  parallel_for(
      p.results * blocks, std::max<int64_t>(1, kGrain / std::min(p.n, r::kBlock)), [&](int64_t begin, int64_t end) {
        Acc staged[r::kBlock];
        for (int64_t u = begin; u < end; ++u) {
          int64_t result = u / blocks, first = u % blocks * r::kBlock, count = std::min(r::kBlock, p.n - first);
          if (direct) {
            to[u] = reduce_block<Combine>(base + p.place(result) + first, count);
          } else {
            p.gather(staged, result, first, count);
            to[u] = reduce_block<Combine>(staged, count);
          }
        }
      });
  if (blocks > 1)
    parallel_for(p.results, std::max<int64_t>(1, kGrain / blocks), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) out[k] = reduce_block<Combine>(to + k * blocks, blocks);
    });
}

template <class Combine, class Acc>
inline void combine_rows(Acc* to, const Acc* from, int64_t n) {
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) to[i] = Combine::combine(to[i], from[i]);
}

// One block of `count` rows of `columns` columns, the bits of reduction::block of each column: results in the first
// `columns` lanes. row_at(i): where row i lies. Rows that follow each other without a gap go many at a time.
template <class Combine, class Acc, class RowAt>
void block_of_rows(Acc* lanes, int64_t count, int64_t columns, bool dense, RowAt row_at) {
  std::fill(lanes, lanes + r::kLanes * columns, Combine::identity());
  if (dense) {
    for (int64_t i = 0; i < count; i += r::kLanes)
      combine_rows<Combine>(lanes, row_at(i), std::min<int64_t>(r::kLanes, count - i) * columns);
  } else {
    for (int64_t i = 0; i < count; ++i) combine_rows<Combine>(lanes + i % r::kLanes * columns, row_at(i), columns);
  }
  for (int64_t half = r::kLanes / 2; half > 0; half /= 2)
    combine_rows<Combine>(lanes, lanes + half * columns, half * columns);
}

template <class Combine, class Acc>
void by_columns(const ReducePlan& p, Acc* out) {
  const Acc* base = reinterpret_cast<const Acc*>(p.base);
  const bool direct = p.plain() && p.reduced_sizes.size() == 1;
  const int64_t step = p.reduced_strides[0];
  const int64_t blocks = r::block_count(p.n), width = p.kept_sizes.back(), tiles = (width + kTile - 1) / kTile;
  const int64_t outer = p.results / width;
  std::vector<Acc> partial(blocks > 1 ? static_cast<size_t>(blocks * p.results) : 0);
  // Unit: a tile of columns, one block of their elements; partial[block][result].
  const int64_t cost = std::min(p.n, r::kBlock) * std::min(width, kTile);
  parallel_for(outer * blocks * tiles, std::max<int64_t>(1, kGrain / cost), [&](int64_t begin, int64_t end) {
    Acc* lanes = scratch<Acc>(Scratch::partial, (r::kLanes + 1) * std::min(kTile, width));
    Acc* staged = lanes + r::kLanes * std::min(kTile, width);
    for (int64_t u = begin; u < end; ++u) {
      const int64_t tile = u % tiles, b = u / tiles % blocks, o = u / tiles / blocks;
      const int64_t column = tile * kTile, first = b * r::kBlock, count = std::min(r::kBlock, p.n - first);
      const int64_t columns = std::min(kTile, width - column), result = o * width + column;
      if (direct) {
        const Acc* x = base + p.place(result) + first * step;
        block_of_rows<Combine>(lanes, count, columns, step == columns, [=](int64_t i) { return x + i * step; });
      } else {
        block_of_rows<Combine>(lanes, count, columns, false, [&](int64_t i) {
          p.gather_row(staged, result, first + i, columns);
          return static_cast<const Acc*>(staged);
        });
      }
      std::memcpy((blocks > 1 ? partial.data() + b * p.results : out) + result, lanes,
                  static_cast<size_t>(columns) * sizeof(Acc));
    }
  });
  if (blocks == 1) return;
  const Acc* results = partial.data();
  const int64_t all = p.results;
  parallel_for(all, std::max<int64_t>(kTile, kGrain / blocks), [&](int64_t begin, int64_t end) {
    Acc* lanes = scratch<Acc>(Scratch::partial, r::kLanes * kTile);
    for (int64_t c = begin; c < end; c += kTile) {
      const int64_t columns = std::min(kTile, end - c);
      block_of_rows<Combine>(lanes, blocks, columns, all == columns, [=](int64_t i) { return results + i * all + c; });
      std::memcpy(out + c, lanes, static_cast<size_t>(columns) * sizeof(Acc));
    }
  });
}

template <class Combine, class Acc>
void reduce_as(const ReducePlan& p, Acc* to) {
  if (p.by_columns())
    by_columns<Combine>(p, to);
  else
    by_rows<Combine>(p, to);
}
template <class Acc>
void reduce_as(const ReducePlan& p, Combining how, void* to) {
  Acc* out = static_cast<Acc*>(to);
  switch (how) {
    case Combining::sum:
      return reduce_as<r::Sum<Acc>>(p, out);
    case Combining::product:
      return reduce_as<r::Product<Acc>>(p, out);
    case Combining::max:
      return reduce_as<r::Max<Acc>>(p, out);
    case Combining::min:
      return reduce_as<r::Min<Acc>>(p, out);
  }
}

template <class Combine, class Acc>
void run(const Tensor& x, const Tensor& out, unsigned mask, Combining how, Prepare prepare, double divisor) {
  const DType acc = std::is_same_v<Acc, float> ? DType::f32 : std::is_same_v<Acc, double> ? DType::f64 : DType::i64;
  const bool staged = out.dtype() != acc;
  const int64_t results = out.numel();
  if (results == 0) return;
  Acc few[16];
  std::vector<Acc> many(staged && results > 16 ? static_cast<size_t>(results) : 0);
  Acc* to = !staged ? static_cast<Acc*>(out.data_ptr()) : results > 16 ? many.data() : few;
  if (x.numel() == 0) {
    std::fill(to, to + results, Combine::identity());
  } else if (results == 1 && x.impl()->contiguous && x.dtype() == acc && prepare == Prepare::none &&
             x.numel() <= r::kBlock) {
    to[0] = reduce_block<Combine>(static_cast<const Acc*>(x.data_ptr()), x.numel());
  } else {
    reduce_as<Acc>(ReducePlan(x, mask, acc, prepare), how, to);
  }
  if constexpr (!std::is_same_v<Acc, int64_t>)
    if (divisor != 1.0)
      for (int64_t i = 0; i < results; ++i) to[i] /= static_cast<Acc>(divisor);
  if (staged) converter(out.dtype(), acc)(out.data_ptr(), 1, to, 1, results);
}

template <template <class> class Combine>
void reduce(const OpCall& c, DType acc, Combining how, Prepare prepare = Prepare::none) {
  const auto& a = c.as<ReduceAttrs>();
  if (acc == DType::f32)
    run<Combine<float>, float>(c.in[0], c.out[0], a.mask, how, prepare, a.divisor);
  else if (acc == DType::f64)
    run<Combine<double>, double>(c.in[0], c.out[0], a.mask, how, prepare, a.divisor);
  else
    run<Combine<int64_t>, int64_t>(c.in[0], c.out[0], a.mask, how, prepare, 1.0);
}

// Bytes that hold `value` somewhere.
bool found(const Tensor& x, int value) { return std::memchr(x.data_ptr(), value, x.nbytes()) != nullptr; }

template <template <class> class Combine>
void truth(const OpCall& c, bool any) {
  const Tensor& x = c.in[0];
  if (x.dtype() == DType::bool_ && x.impl()->contiguous && c.out[0].numel() == 1 && x.numel() > 0) {
    *static_cast<uint8_t*>(c.out[0].data_ptr()) = any ? found(x, 1) : !found(x, 0);
    return;
  }
  // Of no elements: any is false, all is true.
  if (x.numel() == 0) {
    std::memset(c.out[0].data_ptr(), any ? 0 : 1, c.out[0].nbytes());
    return;
  }
  reduce<Combine>(c, DType::i64, any ? Combining::max : Combining::min, Prepare::truth);
}

}  // namespace

void reduce_into(const ReducePlan& plan, Combining how, void* to) {
  if (plan.acc == DType::f32)
    reduce_as<float>(plan, how, to);
  else if (plan.acc == DType::f64)
    reduce_as<double>(plan, how, to);
  else
    reduce_as<int64_t>(plan, how, to);
}

void reduce_sum(const OpCall& c) { reduce<r::Sum>(c, accumulator(c.out[0].dtype()), Combining::sum); }
void reduce_prod(const OpCall& c) { reduce<r::Product>(c, accumulator(c.out[0].dtype()), Combining::product); }
void reduce_max(const OpCall& c) { reduce<r::Max>(c, accumulator(c.out[0].dtype()), Combining::max); }
void reduce_min(const OpCall& c) { reduce<r::Min>(c, accumulator(c.out[0].dtype()), Combining::min); }
void reduce_any(const OpCall& c) { truth<r::Max>(c, true); }
void reduce_all(const OpCall& c) { truth<r::Min>(c, false); }
void count_nonzero(const OpCall& c) { reduce<r::Sum>(c, DType::i64, Combining::sum, Prepare::truth); }

}  // namespace weft::cpu
