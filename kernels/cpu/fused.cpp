#include "kernels/cpu/fused.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/stream.h"

namespace weft::cpu {
namespace {

constexpr int64_t kTile = 512;               // elements; what a group works on stays in L1
constexpr int64_t kLongTile = 4096;          // where every operand is read and written where it lies
constexpr int64_t kLine = 64;                // bytes of a cache line
constexpr int64_t kMostScratch = 768 << 10;  // of a thread, where tiles are long
constexpr int kStages = 6;                   // inputs and output of a step in the loop's types

// Bytes of a tile of any dtype; not a multiple of 4096.
int64_t slot_of(int64_t tile) { return tile * 8 + 320; }

using Kind = FusedPlace::Kind;
int64_t item_of(const FusedPlace& p) { return static_cast<int64_t>(itemsize(p.dtype)); }

void convert(const FusedStep& s, char* to, DType from, const char* src, int64_t stride, int64_t n) {
  if (!s.truth) return converter(s.compute, from)(to, 1, src, stride, n);
  uint8_t truth[kTile];
  const auto read = stride * static_cast<int64_t>(itemsize(from)), made = static_cast<int64_t>(itemsize(s.compute));
  for (int64_t i = 0; i < n; i += kTile) {
    const int64_t part = std::min(kTile, n - i);
    converter(DType::bool_, from)(truth, 1, src + i * read, stride, part);
    converter(s.compute, DType::bool_)(to + i * made, 1, truth, 1, part);
  }
}

// Where all of the group's memory is more than caches hold: results that it writes once and does not read go past them,
// and what it only reads is fetched ahead.
void reach_past_caches(FusedGroup& g, std::span<const FusedPlace> places, int64_t numel) {
  int64_t bytes = 0;
  for (const FusedPlace& p : places)
    if (p.kind == Kind::memory) bytes += numel * item_of(p);
  if (!streams(bytes)) return;
  g.past.assign(places.size(), 0);
  std::vector<int> reads(places.size(), 0), writes(places.size(), 0);
  for (const FusedGroup::Item& item : g.items) {
    const FusedStep& s = g.steps[static_cast<size_t>(item.step)];
    const FusedSegment* segment = item.segment;
    for (int p : segment ? std::span<const int>(segment->writes) : std::span<const int>(&s.out, 1))
      ++writes[static_cast<size_t>(p)];
    for (int p :
         segment ? std::span<const int>(segment->reads) : std::span<const int>(s.in, static_cast<size_t>(s.n_in)))
      ++reads[static_cast<size_t>(p)];
  }
  const auto reaches = [&](int p, DType made) {
    const auto at = static_cast<size_t>(p);
    const FusedPlace& out = places[at];
    g.past[at] = reads[at] == 0 && writes[at] == 1 && out.kind == Kind::memory && out.dtype == made &&
                 std::all_of(places.begin(), places.end(), [&](const FusedPlace& other) {
                   return &other == &out || other.kind == Kind::tile || other.data != out.data;
                 });
  };
  for (const FusedGroup::Item& item : g.items) {
    const FusedStep& s = g.steps[static_cast<size_t>(item.step)];
    if (item.segment)
      for (int p : item.segment->writes) reaches(p, places[static_cast<size_t>(p)].dtype);
    else
      reaches(s.out, s.computed);
  }
  for (size_t p = 0; p < places.size(); ++p)
    if (places[p].kind == Kind::memory && !writes[p] && reads[p]) g.fetch_ahead(places[p]);
}

// One thread's stretch of a group: its scratch tiles and where it is in what does not lie in order.
class Piece {
 public:
  Piece(const FusedGroup& g, const FusedPlace* places, int64_t begin, int64_t end)
      : g_(g), places_(places), tiles_(scratch<char>(Scratch::staging, (g.tiles + g.stages) * g.slot)) {
    cursors_.reserve(g.shapes.size());
    for (const StridedLoop<2>& s : g.shapes) cursors_.emplace_back(s.sizes, s.strides[1], begin);
    for (const FusedGroup::Item& item : g.items) {
      if (!item.segment) {
        prepare(item.step, std::min(g.tile, end - begin));
        continue;
      }
      for (const FusedSegment::Param& p : item.segment->params) {
        const Scalar& value = g.steps[static_cast<size_t>(p.step)].params[p.index];
        numbers_.push_back({value.f64(), value.i64()});
      }
      at_.resize(std::max(at_.size(), item.segment->reads.size() + item.segment->writes.size()));
    }
  }

  /// Elements [i, i + n); `next`: others follow.
  void run(int64_t i, int64_t n, bool next) {
    const FusedNumber* numbers = numbers_.data();
    for (size_t k = 0; k < g_.items.size(); ++k) {
      if (next) fetch(i + n, static_cast<int64_t>(k));
      const FusedGroup::Item& item = g_.items[k];
      if (!item.segment) {
        run_step(item.step, i, n);
        continue;
      }
      run_segment(*item.segment, numbers, i, n);
      numbers += item.segment->params.size();
    }
  }

 private:
  char* tile(int i) const { return tiles_ + i * g_.slot; }
  char* stage(size_t i) const { return tile(g_.tiles + static_cast<int>(i)); }
  const FusedPlace& place(int p) const { return places_[static_cast<size_t>(p)]; }
  char* at(const FusedPlace& p, int64_t i) const {
    return p.kind == Kind::tile ? tile(p.tile) : p.data + (i - p.first) * item_of(p);
  }
  Cursor& cursor(int p) { return cursors_[static_cast<size_t>(g_.shape_of[static_cast<size_t>(p)])]; }
  bool goes_past(int p) const { return !g_.past.empty() && g_.past[static_cast<size_t>(p)]; }
  int prepared(int step, int input) const { return g_.prepared[static_cast<size_t>(step * 5 + input)]; }

  void prepare(int step, int64_t n) const {
    const FusedStep& s = g_.steps[static_cast<size_t>(step)];
    for (int x = 0; x < s.n_in; ++x)
      if (int to = prepared(step, x); to >= 0) {
        const FusedPlace& p = place(s.in[x]);
        convert(s, tile(to), p.dtype, p.data, 0, n);
      }
  }

  void fetch(int64_t i, int64_t item) const {
    for (const FusedGroup::Fetch& f : g_.fetches) {
      const char* line = f.data + i * f.item + item * f.lines * kLine;
      for (int64_t l = 0; l < f.lines; ++l) __builtin_prefetch(line + l * kLine);
    }
  }

  void run_step(int step, int64_t i, int64_t n) {
    const FusedStep& s = g_.steps[static_cast<size_t>(step)];
    const void* in[5];
    for (int x = 0; x < s.n_in; ++x) {
      const FusedPlace& p = place(s.in[x]);
      char* to = stage(static_cast<size_t>(x));
      const bool ready = p.dtype == s.compute && !s.truth;
      if (p.kind == Kind::single) {
        in[x] = tile(prepared(step, x));
      } else if (p.kind == Kind::strided) {
        const int64_t width = static_cast<int64_t>(itemsize(s.compute));
        in[x] = to;
        cursor(s.in[x]).take(n, [&](int64_t offset, int64_t stride, int64_t count) {
          const char* from = p.data + (offset - p.first) * item_of(p);
          if (ready && stride == 1 && count == n)
            in[x] = from;
          else
            convert(s, to, p.dtype, from, stride, count);
          to += count * width;
        });
      } else if (ready) {
        in[x] = at(p, i);
      } else {
        convert(s, to, p.dtype, at(p, i), 1, n);
        in[x] = to;
      }
    }
    const FusedPlace& out = place(s.out);
    char* to = stage(kStages - 1);
    if (goes_past(s.out)) {
      s.loop(to, in, s.params, n);
      stream(at(out, i), to, n * item_of(out));
    } else if (out.dtype == s.computed) {
      s.loop(at(out, i), in, s.params, n);
    } else {
      s.loop(to, in, s.params, n);
      converter(out.dtype, s.computed)(at(out, i), 1, to, 1, n);
    }
  }

  void run_segment(const FusedSegment& s, const FusedNumber* numbers, int64_t i, int64_t n) {
    const size_t reads = s.reads.size();
    for (size_t x = 0; x < reads; ++x) {
      const FusedPlace& p = place(s.reads[x]);
      if (p.kind == Kind::single) {
        at_[x] = p.data;
      } else if (p.kind == Kind::strided) {
        char* to = at_[x] = stage(x);
        cursor(s.reads[x]).take(n, [&](int64_t offset, int64_t stride, int64_t count) {
          char* from = p.data + (offset - p.first) * item_of(p);
          if (stride == 1 && count == n)
            at_[x] = from;
          else
            converter(p.dtype, p.dtype)(to, 1, from, stride, count);
          to += count * item_of(p);
        });
      } else {
        at_[x] = at(p, i);
      }
    }
    const auto staged = [&](int p) { return goes_past(p) || g_.moved[static_cast<size_t>(p)]; };
    for (size_t y = 0; y < s.writes.size(); ++y)
      at_[reads + y] = staged(s.writes[y]) ? stage(reads + y) : at(place(s.writes[y]), i);
    s.run(at_.data(), numbers, n);
    for (size_t y = 0; y < s.writes.size(); ++y) {
      const FusedPlace& p = place(s.writes[y]);
      if (goes_past(s.writes[y]))
        stream(at(p, i), at_[reads + y], n * item_of(p));
      else if (staged(s.writes[y]))
        std::memcpy(at(p, i), at_[reads + y], static_cast<size_t>(n * item_of(p)));
    }
  }

  const FusedGroup& g_;
  const FusedPlace* places_;
  char* tiles_;
  std::vector<Cursor> cursors_;
  std::vector<FusedNumber> numbers_;  // of all segments
  std::vector<char*> at_;             // of the segment that runs
};

}  // namespace

void FusedGroup::fetch_ahead(const FusedPlace& place) {
  fetches.push_back({place.data, item_of(place), lines_of(item_of(place))});
}

int64_t FusedGroup::lines_of(int64_t item) const {
  const auto shares = static_cast<int64_t>(items.size());
  return (ahead * item / kLine + shares - 1) / shares;
}

FusedGroup::FusedGroup(const Dims& sizes, const Dims& strides, std::span<const FusedStep> steps_of_group,
                       std::span<const FusedPlace> places, int tiles_of_places, std::span<const FusedSegment> segments)
    : steps(steps_of_group),
      shape_of(places.size(), -1),
      prepared(steps.size() * 5, -1),
      moved(places.size(), 0),
      tile(kTile),
      slot(slot_of(kTile)),
      ahead(kTile),
      tiles(tiles_of_places),
      stages(kStages) {
  auto next = segments.begin();
  for (int k = 0; k < static_cast<int>(steps.size());) {
    const bool begins = next != segments.end() && next->first == k;
    items.push_back({k, begins ? &*next : nullptr});
    k += begins ? (next++)->count : 1;
  }
  for (size_t p = 0; p < places.size(); ++p) {
    if (places[p].kind != Kind::strided) continue;
    const Dims* all_sizes[] = {&sizes, &places[p].sizes};
    const Dims* all_strides[] = {&strides, &places[p].strides};
    shape_of[p] = static_cast<int>(shapes.size());
    shapes.emplace_back(sizes, 2, all_sizes, all_strides);
  }
  for (const Item& item : items) {
    if (const FusedSegment* segment = item.segment) {
      stages = std::max(stages, static_cast<int>(segment->reads.size() + segment->writes.size()));
      for (int y : segment->writes)
        for (int x : segment->reads) {
          const FusedPlace &a = places[static_cast<size_t>(x)], &b = places[static_cast<size_t>(y)];
          if (a.kind == Kind::tile && b.kind == Kind::tile && a.tile == b.tile && a.dtype != b.dtype)
            moved[static_cast<size_t>(y)] = 1;
        }
      continue;
    }
    const FusedStep& s = steps[static_cast<size_t>(item.step)];
    for (int x = 0; x < s.n_in; ++x)
      if (places[static_cast<size_t>(s.in[x])].kind == Kind::single)
        prepared[static_cast<size_t>(item.step * 5 + x)] = tiles++;
  }
}

// A loop alone whose operands are all read where they lie takes long tiles. Tiles do not cross long rows of operands
// that are the same for all rows, and are equal parts of one.
void FusedGroup::choose_tile(std::span<const FusedPlace> places, int64_t wanted) {
  const bool loops = std::any_of(items.begin(), items.end(), [](const Item& item) { return item.segment; });
  bool in_place = items.size() == 1 && items[0].segment && past.empty();
  for (size_t p = 0; loops && p < places.size(); ++p) {
    if (shape_of[p] < 0) continue;
    const StridedLoop<2>& s = shapes[static_cast<size_t>(shape_of[p])];
    const bool runs = s.strides[1].back() == 1 && s.inner() >= kTile / 2;
    in_place &= runs && (row == 0 || row == s.inner());
    if (runs && (row == 0 || s.inner() < row)) row = s.inner();
  }
  if (wanted || in_place) tile = wanted ? wanted : kLongTile;
  if (!in_place) {
    while (tile > kTile && (tiles + stages) * slot_of(tile) > kMostScratch) tile /= 2;
    slot = slot_of(std::max(tile, kTile));
  }
  if (row) {
    const int64_t parts = (row + tile - 1) / tile;
    tile = (row + parts - 1) / parts;
  }
  if (wanted) ahead = tile;
  for (Fetch& f : fetches) f.lines = lines_of(f.item);
}

void FusedGroup::run(const FusedPlace* places, int64_t begin, int64_t end) const {
  Piece piece(*this, places, begin, end);
  for (int64_t i = begin, n = 0; i < end; i += n) {
    n = std::min(tile, end - i);
    if (row) n = std::min(n, row - i % row);
    piece.run(i, n, i + n < end);
  }
  if (!past.empty()) streamed();
}

void run_fused(const Dims& sizes, const Dims& strides, std::span<const FusedStep> steps,
               std::span<const FusedPlace> places, int tiles, std::span<const FusedSegment> segments,
               const FusedCut& cut) {
  int64_t numel = 1;
  for (int64_t s : sizes) numel *= s;
  if (numel == 0) return;
  FusedGroup g(sizes, strides, steps, places, tiles, segments);
  reach_past_caches(g, places, numel);
  g.choose_tile(places, cut.tile);
  parallel_for(numel, cut.grain ? cut.grain : grain_of(numel, kFusedGrain),
               [&](int64_t begin, int64_t end) { g.run(places.data(), begin, end); });
}

}  // namespace weft::cpu
