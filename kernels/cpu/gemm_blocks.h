#pragma once
// From a whole product to register tiles: packing, cache blocks, threads. Included by the gemm_*.cpp files only.
#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <type_traits>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_tile.h"

namespace weft::kernels {
namespace {

/// Scratch memory of this thread, kept between calls while it is small. Contents are lost at the next use of the slot.
template <int kSlot>
void* workspace(size_t bytes) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t capacity = 0;
  constexpr size_t kKeep = size_t{16} << 20;
  if (bytes > capacity || capacity > std::max(kKeep, bytes)) {
    memory.reset();
    capacity = 0;
    constexpr size_t kHuge = size_t{2} << 20;
    const size_t page = bytes > kHuge / 2 ? kHuge : 4096, rounded = (bytes + page - 1) / page * page;
    memory.reset(std::aligned_alloc(page, rounded));
    WEFT_CHECK(memory, "gemm: out of memory; {} bytes of scratch memory were asked for", rounded);
#if defined(MADV_HUGEPAGE)
    if (page == kHuge) madvise(memory.get(), rounded, MADV_HUGEPAGE);  // fewer address translations; may fail
#endif
    capacity = rounded;
  }
  return memory.get();
}

inline constexpr int64_t kPackSlice = 64;  // of k

/// The operands with their types.
template <class K>
struct Operands {
  using Source = typename K::Source;
  int64_t m, n, k;
  const Source* a;
  int64_t a_rs, a_cs;
  const Source* b;
  int64_t b_rs, b_cs;
  cpu::PackedWeight* packed_b = nullptr;
};

/// What happens to the sums: c = alpha * sum + beta * c + bias, with c and bias of the source type; or, where raw is
/// set, raw = sum. Sums of 16-bit floats are kept apart until they are whole and can be rounded.
template <class K>
struct Result {
  typename K::Source* c;
  int64_t ldc;
  typename K::Acc alpha, beta;
  const typename K::Source* bias;
  typename K::Acc* raw = nullptr;
  int64_t raw_ld = 0;
  bool raw_kept = false;  // raw += sum
};

template <class K>
struct Blocking {
  static constexpr int64_t kNr = K::V::kLanes * K::V::kNv;
  // Steps of k per pass over C: one panel of B then has the size of the L1 cache.
  static constexpr int64_t kDepth = 384;

  int64_t steps, depth, mr, tiles, panels;

  explicit Blocking(const Operands<K>& o) {
    steps = (o.k + K::kPair - 1) / K::kPair;
    const int64_t blocks = std::max<int64_t>(1, (steps + kDepth - 1) / kDepth);
    depth = (steps + blocks - 1) / blocks;
    tiles = (o.m + K::V::kMr - 1) / K::V::kMr;
    mr = (o.m + tiles - 1) / tiles;
    tiles = (o.m + mr - 1) / mr;
    panels = (o.n + kNr - 1) / kNr;
  }
  int64_t a_panel() const { return steps * mr + kPanelSlack; }
  int64_t b_panel() const { return steps * kNr + kPanelSlack; }
};

/// Packs tiles [first, last) of A to panels: tile t at panels + (t - first) * a_panel(), as wide as it has rows. Of
/// a transposed A by slices of k, so that neighbouring tiles share its cache lines and pages.
template <class K>
void pack_a(const Operands<K>& o, const Blocking<K>& s, int64_t first, int64_t last, typename K::Elem* panels) {
  const int64_t slice = o.a_cs == 1 ? std::max<int64_t>(1, o.k) : kPackSlice;
  for (int64_t p = 0; p < o.k; p += slice) {
    const int64_t k = std::min(slice, o.k - p);
    for (int64_t t = first; t < last; ++t) {
      const int64_t row = t * s.mr, rows = std::min(s.mr, o.m - row);
      pack<K>(panels + (t - first) * s.a_panel() + p / K::kPair * rows, rows, rows, k, o.a + row * o.a_rs + p * o.a_cs,
              o.a_rs, o.a_cs);
    }
  }
}

/// The same of B, panels [first, last).
template <class K>
void pack_b(const Operands<K>& o, const Blocking<K>& s, int64_t first, int64_t last, typename K::Elem* panels) {
  constexpr int64_t kNr = Blocking<K>::kNr;
  const int64_t slice = o.b_rs == 1 ? std::max<int64_t>(1, o.k) : kPackSlice;
  for (int64_t p = 0; p < o.k; p += slice) {
    const int64_t k = std::min(slice, o.k - p);
    for (int64_t j = first; j < last; ++j) {
      const int64_t column = j * kNr;
      pack<K>(panels + (j - first) * s.b_panel() + p / K::kPair * kNr, kNr, std::min(kNr, o.n - column), k,
              o.b + column * o.b_cs + p * o.b_rs, o.b_cs, o.b_rs);
    }
  }
}

/// Rounds rows x columns of sums into C.
template <class K>
void finish(const typename K::Acc* sums, int64_t ld, int64_t rows, int64_t columns, int64_t row, int64_t column,
            const Result<K>& r) {
  for (int64_t i = 0; i < rows; ++i) {
    const typename K::Acc* s = sums + i * ld;
    auto* c = r.c + (row + i) * r.ldc + column;
    const auto* bias = r.bias ? r.bias + column : nullptr;
    for (int64_t j = 0; j < columns; ++j) {
      typename K::Acc v = r.alpha * s[j];
      if (r.beta != 0) v += r.beta * K::convert(c[j]);
      if (bias) v += K::convert(bias[j]);
      c[j] = K::round(v);
    }
  }
}

/// The end of a tile at (row, column) of C in the block of k that begins at `step`. 16-bit results are summed in
/// `sums` (leading dimension ld, its origin at the block's first element) and rounded by finish().
template <class K>
TileEnd<typename K::Acc> tile_end(const Result<K>& r, typename K::Acc* sums, int64_t ld, int64_t sum_row,
                                  int64_t sum_column, int64_t row, int64_t column, int64_t step) {
  using Acc = typename K::Acc;
  const Acc kept = step == 0 && !r.raw_kept ? Acc(0) : Acc(1);
  if (r.raw) return {r.raw + row * r.raw_ld + column, r.raw_ld, 1, kept, nullptr};
  if constexpr (std::is_same_v<typename K::Source, Acc>) {
    auto* c = r.c + row * r.ldc + column;
    if (step == 0) return {c, r.ldc, r.alpha, r.beta, r.bias ? r.bias + column : nullptr};
    return {c, r.ldc, r.alpha, 1, nullptr};
  } else {
    return {sums + sum_row * ld + sum_column, ld, 1, kept, nullptr};
  }
}

/// Few rows, or little work: A is read where it lies, B where its rows are contiguous, else packed a panel at a time.
template <class K>
void multiply_direct(const Operands<K>& o, const Result<K>& r) {
  using Elem = typename K::Elem;
  using Acc = typename K::Acc;
  constexpr bool kInPlace = std::is_same_v<typename K::Source, Elem>;
  constexpr bool kRounds = !std::is_same_v<typename K::Source, Acc>;
  constexpr int64_t kNr = Blocking<K>::kNr;
  const Blocking<K> s(o);
  Elem* packed_a = nullptr;
  if constexpr (!kInPlace) {
    packed_a = static_cast<Elem*>(workspace<0>(s.tiles * s.a_panel() * sizeof(Elem)));
    pack_a(o, s, 0, s.tiles, packed_a);
  }
  Elem* kept = nullptr;  // all panels of B, `fresh` where they are packed now
  bool fresh = true;
  if (o.packed_b && !(kInPlace && o.b_cs == 1))
    kept = static_cast<Elem*>(o.packed_b->get(o.b, s.panels * s.b_panel() * sizeof(Elem), fresh));
  // Pieces of nearly equal size, of some microseconds each.
  const int64_t pieces = std::max<int64_t>(1, std::min(o.m * o.k * o.n >> 17, s.panels));
  parallel_for(s.panels, (s.panels + pieces - 1) / pieces, [&](int64_t begin, int64_t end) {
    Acc* sums = kRounds && !r.raw ? static_cast<Acc*>(workspace<2>(o.m * kNr * sizeof(Acc))) : nullptr;
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t column = panel * kNr, columns = std::min(kNr, o.n - column);
      const auto mask = last_mask<K>(columns);
      int64_t step = 0;
      do {
        const int64_t depth = std::min(s.depth, s.steps - step);
        const Elem* b = nullptr;
        int64_t b_rs = kNr;
        if constexpr (kInPlace) {
          if (o.b_cs == 1) b = o.b + step * o.b_rs + column, b_rs = o.b_rs;
        }
        if (!b) {
          Elem* packed = kept ? kept + panel * s.b_panel() + step * kNr
                              : static_cast<Elem*>(workspace<1>((depth * kNr + kPanelSlack) * sizeof(Elem)));
          const int64_t first = step * K::kPair;
          if (fresh)
            pack<K>(packed, kNr, columns, std::min(depth * K::kPair, o.k - first),
                    o.b + first * o.b_rs + column * o.b_cs, o.b_cs, o.b_rs);
          b = packed;
        }
        for (int64_t t = 0; t < s.tiles; ++t) {
          const int64_t row = t * s.mr, rows = std::min(s.mr, o.m - row);
          const auto end_of_tile = tile_end<K>(r, sums, kNr, row, 0, row, column, step);
          if constexpr (kInPlace) {
            tile_fn<K, false>(rows, columns)(depth, o.a + row * o.a_rs + step * o.a_cs, o.a_rs, o.a_cs, b, b_rs, mask,
                                             end_of_tile);
          } else {
            tile_fn<K, true>(rows, columns)(depth, packed_a + t * s.a_panel() + step * rows, 1, rows, b, b_rs, mask,
                                            end_of_tile);
          }
        }
        step += depth;
      } while (step < s.steps);
      if (sums) finish<K>(sums, kNr, o.m, columns, 0, column, r);
    }
  });
}

/// Whether tiles read A where it lies: its rows must be contiguous, and those of a tile fall on different cache sets.
template <class K>
bool reads_in_place(const Operands<K>& o) {
  if (!std::is_same_v<typename K::Source, typename K::Elem>) return false;
  const uint64_t way = static_cast<uint64_t>(o.a_rs) * sizeof(typename K::Elem) % 4096;
  return o.a_cs == 1 && way >= 128 && way <= 4096 - 128;
}

/// Packs both operands (in chunks that fit the shared cache), then multiplies block by block.
template <class K>
void multiply_packed(const Operands<K>& o, const Result<K>& r) {
  using Elem = typename K::Elem;
  using Acc = typename K::Acc;
  constexpr bool kRounds = !std::is_same_v<typename K::Source, Acc>;
  constexpr int64_t kNr = Blocking<K>::kNr;
  const Blocking<K> s(o);
  constexpr int64_t kMaxPacked = int64_t{2} << 20;
  const int64_t tile_chunk = std::clamp<int64_t>(kMaxPacked / s.a_panel(), 1, s.tiles);
  const int64_t panel_chunk = std::clamp<int64_t>(kMaxPacked / s.b_panel(), 1, s.panels);
  const bool a_in_place = reads_in_place(o);
  Elem* pa = a_in_place ? nullptr : static_cast<Elem*>(workspace<0>(tile_chunk * s.a_panel() * sizeof(Elem)));
  const size_t b_bytes = panel_chunk * s.b_panel() * sizeof(Elem);
  bool fresh = true;
  Elem* pb = static_cast<Elem*>(o.packed_b && panel_chunk == s.panels ? o.packed_b->get(o.b, b_bytes, fresh)
                                                                      : workspace<1>(b_bytes));

  for (int64_t panel0 = 0; panel0 < s.panels; panel0 += panel_chunk) {
    for (int64_t tile0 = 0; tile0 < s.tiles; tile0 += tile_chunk) {
      const int64_t tiles = std::min(tile_chunk, s.tiles - tile0);
      const int64_t panels = std::min(panel_chunk, s.panels - panel0);
      const int64_t group = std::clamp<int64_t>((tiles + panels) / (4 * num_threads()), 1, 4);
      const int64_t a_groups = a_in_place ? 0 : (tiles + group - 1) / group;
      const int64_t b_groups = tile0 == 0 && fresh ? (panels + group - 1) / group : 0;
      const auto pack_group = [&](int64_t i) {
        if (i < a_groups) {
          const int64_t t = i * group;
          pack_a(o, s, tile0 + t, tile0 + std::min(tiles, t + group), pa + t * s.a_panel());
        } else {
          const int64_t j = (i - a_groups) * group;
          pack_b(o, s, panel0 + j, panel0 + std::min(panels, j + group), pb + j * s.b_panel());
        }
      };
      parallel_for(a_groups + b_groups, std::max<int64_t>(1, 32768 / (o.k * s.mr * group)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) pack_group(i);
                   });

      // Blocks: about 112 x 256 for the L2 cache, smaller where the threads would not have twelve each.
      int64_t block_tiles = std::min<int64_t>(8, tiles), block_panels = std::min<int64_t>(8, panels);
      const auto blocks_of = [&] {
        return ((tiles + block_tiles - 1) / block_tiles) * ((panels + block_panels - 1) / block_panels);
      };
      while (blocks_of() < 12 * num_threads() && block_tiles * block_panels > 1) {
        int64_t& larger = block_panels >= block_tiles ? block_panels : block_tiles;
        larger = (larger + 1) / 2;
      }
      const auto even = [](int64_t whole, int64_t block) {  // blocks of nearly equal size, for an even load
        const int64_t blocks = (whole + block - 1) / block;
        return (whole + blocks - 1) / blocks;
      };
      block_tiles = even(tiles, block_tiles);
      block_panels = even(panels, block_panels);
      // Block by block along the rows: the thread that makes rows here made them in the op before, as a rule.
      const int64_t block_columns = (panels + block_panels - 1) / block_panels;
      parallel_for(blocks_of(), 1, [&](int64_t block, int64_t) {
        const int64_t t0 = block / block_columns * block_tiles, t1 = std::min(tiles, t0 + block_tiles);
        const int64_t j0 = block % block_columns * block_panels, j1 = std::min(panels, j0 + block_panels);
        const int64_t ld = block_panels * kNr;
        // Sums to be rounded: of the whole block, or of one tile where k is one block.
        const bool rounds = kRounds && !r.raw, by_tile = rounds && s.steps <= s.depth;
        alignas(64) Acc tile_sums[K::V::kMr * kNr];
        Acc* sums =
            rounds && !by_tile ? static_cast<Acc*>(workspace<2>(block_tiles * s.mr * ld * sizeof(Acc))) : nullptr;
        int64_t step = 0;
        do {
          const int64_t depth = std::min(s.depth, s.steps - step);
          for (int64_t j = j0; j < j1; ++j) {
            const int64_t column = (panel0 + j) * kNr, columns = std::min(kNr, o.n - column);
            const auto mask = last_mask<K>(columns);
            const Elem* b = pb + j * s.b_panel() + step * kNr;
            for (int64_t t = t0; t < t1; ++t) {
              const int64_t row = (tile0 + t) * s.mr, rows = std::min(s.mr, o.m - row);
              const auto end = by_tile ? TileEnd<Acc>{tile_sums, kNr, 1, 0, nullptr}
                                       : tile_end<K>(r, sums, ld, (t - t0) * s.mr, (j - j0) * kNr, row, column, step);
              if constexpr (std::is_same_v<typename K::Source, Elem>) {
                if (a_in_place) {
                  tile_fn<K, false>(rows, columns)(depth, o.a + row * o.a_rs + step * o.a_cs, o.a_rs, o.a_cs, b, kNr,
                                                   mask, end);
                  continue;
                }
              }
              tile_fn<K, true>(rows, columns)(depth, pa + t * s.a_panel() + step * rows, 1, rows, b, kNr, mask, end);
              if (by_tile) finish<K>(tile_sums, kNr, rows, columns, row, column, r);
            }
          }
          step += depth;
        } while (step < s.steps);
        if (sums) {
          const int64_t row = (tile0 + t0) * s.mr, column = (panel0 + j0) * kNr;
          finish<K>(sums, ld, std::min((t1 - t0) * s.mr, o.m - row), std::min((j1 - j0) * kNr, o.n - column), row,
                    column, r);
        }
      });
    }
  }
}

template <class K>
void multiply_whole(const Operands<K>& o, const Result<K>& r) {
  if (o.m <= 2 * K::V::kMr || o.m * o.n * o.k <= 128 * 128 * 64) {
    return multiply_direct<K>(o, r);
  }
  if (!std::is_same_v<typename K::Source, typename K::Acc> && !r.raw) return multiply_packed<K>(o, r);
  // Where C can hold partial sums, one block of k after another, so that the packed operands stay in the caches.
  const int64_t depth = Blocking<K>(o).depth * K::kPair;
  Result<K> part_result = r;
  for (int64_t p = 0; p < o.k; p += depth) {
    Operands<K> part = o;
    part.a += p * o.a_cs;
    part.b += p * o.b_rs;
    part.k = std::min(depth, o.k - p);
    multiply_packed<K>(part, part_result);
    part_result.beta = 1;
    part_result.bias = nullptr;
    part_result.raw_kept = true;
  }
}

template <class K>
void multiply(const Operands<K>& o, const Result<K>& r) {
  // A small C with a long k (weight gradients) has too few blocks for the threads: slices of k, summed in order. The
  // cut depends on the sizes alone.
  const int64_t slices = o.m * o.n <= 64 * 256 ? std::min<int64_t>(16, o.k / 4096) : 1;
  if (slices <= 1) return multiply_whole<K>(o, r);
  using Acc = typename K::Acc;
  Acc* parts = static_cast<Acc*>(workspace<3>(slices * o.m * o.n * sizeof(Acc)));
  const int64_t slice = (o.k + slices - 1) / slices;
  parallel_for(slices, 1, [&](int64_t i, int64_t) {
    Operands<K> part = o;
    part.a += i * slice * o.a_cs;
    part.b += i * slice * o.b_rs;
    part.k = std::min(slice, o.k - i * slice);
    part.packed_b = nullptr;  // several threads
    Result<K> sums{};
    sums.raw = parts + i * o.m * o.n;
    sums.raw_ld = o.n;
    multiply_whole<K>(part, sums);
  });
  for (int64_t i = 1; i < slices; ++i) {
    for (int64_t j = 0; j < o.m * o.n; ++j) parts[j] += parts[i * o.m * o.n + j];
  }
  finish<K>(parts, o.n, o.m, o.n, 0, 0, r);
}

/// The typed form of g.
template <class K>
void run_gemm(const Gemm& g) {
  using Source = typename K::Source;
  using Acc = typename K::Acc;
  const Operands<K> o{
      g.m,    g.n,    g.k,       static_cast<const Source*>(g.a), g.a_rs, g.a_cs, static_cast<const Source*>(g.b),
      g.b_rs, g.b_cs, g.packed_b};
  const Result<K> r{static_cast<Source*>(g.c), g.ldc, static_cast<Acc>(g.alpha), static_cast<Acc>(g.beta),
                    static_cast<const Source*>(g.bias)};
  multiply<K>(o, r);
}

}  // namespace
}  // namespace weft::kernels
