#include "kernels/cpu/fused.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/stream.h"

namespace weft::cpu {
namespace {

constexpr int64_t kGrain = 32768;           // elements a thread takes at a time, as run_pointwise
constexpr int64_t kTile = 512;              // elements; what a group works on stays in L1
constexpr int64_t kSlot = kTile * 8 + 320;  // bytes of a tile of any dtype; not a multiple of 4096
constexpr int64_t kLine = 64;               // bytes of a cache line
constexpr int kStages = 6;                  // inputs and output of a step in the loop's types

using Kind = FusedPlace::Kind;
void convert(const FusedStep& s, char* to, DType from, const char* src, int64_t stride, int64_t n) {
  if (s.truth) {
    uint8_t truth[kTile];
    converter(DType::bool_, from)(truth, 1, src, stride, n);
    converter(s.compute, DType::bool_)(to, 1, truth, 1, n);
  } else {
    converter(s.compute, from)(to, 1, src, stride, n);
  }
}

// Where all of the group's memory is more than caches hold: results that it writes once and does not read go past them,
// and what it only reads is fetched ahead.
void reach_past_caches(FusedGroup& g, std::span<const FusedPlace> places, int64_t numel) {
  int64_t bytes = 0;
  for (const FusedPlace& p : places)
    if (p.kind == Kind::memory) bytes += numel * static_cast<int64_t>(itemsize(p.dtype));
  if (!streams(bytes)) return;
  g.past.assign(places.size(), 0);
  std::vector<int> reads(places.size(), 0), writes(places.size(), 0);
  for (const FusedStep& s : g.steps) {
    ++writes[static_cast<size_t>(s.out)];
    for (int i = 0; i < s.n_in; ++i) ++reads[static_cast<size_t>(s.in[i])];
  }
  for (const FusedStep& s : g.steps) {
    const auto at = static_cast<size_t>(s.out);
    const FusedPlace& out = places[at];
    g.past[at] = reads[at] == 0 && writes[at] == 1 && out.kind == Kind::memory && out.dtype == s.computed &&
                 std::all_of(places.begin(), places.end(), [&](const FusedPlace& p) {
                   return &p == &out || p.kind == Kind::tile || p.data != out.data;
                 });
  }
  for (size_t p = 0; p < places.size(); ++p)
    if (places[p].kind == Kind::memory && !writes[p]) g.fetch_ahead(places[p]);
}

}  // namespace

void FusedGroup::fetch_ahead(const FusedPlace& place) {
  const auto shares = static_cast<int64_t>(steps.size()), item = static_cast<int64_t>(itemsize(place.dtype));
  fetches.push_back({place.data, item, (kTile * item / kLine + shares - 1) / shares});
}

FusedGroup::FusedGroup(const Dims& sizes, const Dims& strides, std::span<const FusedStep> steps_of_group,
                       std::span<const FusedPlace> places, int tiles_of_places)
    : steps(steps_of_group), shape_of(places.size(), -1), prepared(steps.size() * 5, -1), tiles(tiles_of_places) {
  for (size_t p = 0; p < places.size(); ++p) {
    if (places[p].kind != Kind::strided) continue;
    const Dims* all_sizes[] = {&sizes, &places[p].sizes};
    const Dims* all_strides[] = {&strides, &places[p].strides};
    shape_of[p] = static_cast<int>(shapes.size());
    shapes.emplace_back(sizes, 2, all_sizes, all_strides);
  }
  for (size_t k = 0; k < steps.size(); ++k)
    for (int i = 0; i < steps[k].n_in; ++i)
      if (places[static_cast<size_t>(steps[k].in[i])].kind == Kind::single)
        prepared[k * 5 + static_cast<size_t>(i)] = tiles++;
}

void FusedGroup::run(const FusedPlace* places, int64_t begin, int64_t end) const {
  const FusedGroup& g = *this;
  char* scratch_tiles = scratch<char>(Scratch::staging, (g.tiles + kStages) * kSlot);
  const auto tile = [&](int i) { return scratch_tiles + i * kSlot; };
  const auto at = [&](int place, int64_t i) {
    const FusedPlace& p = places[static_cast<size_t>(place)];
    return p.kind == Kind::tile ? tile(p.tile) : p.data + (i - p.first) * static_cast<int64_t>(itemsize(p.dtype));
  };
  std::vector<Cursor> cursors;
  cursors.reserve(g.shapes.size());
  for (const StridedLoop<2>& s : g.shapes) cursors.emplace_back(s.sizes, s.strides[1], begin);
  const int64_t most = std::min(kTile, end - begin);
  for (size_t k = 0; k < g.steps.size(); ++k)
    for (int i = 0; i < g.steps[k].n_in; ++i)
      if (int to = g.prepared[k * 5 + static_cast<size_t>(i)]; to >= 0) {
        const FusedPlace& p = places[static_cast<size_t>(g.steps[k].in[i])];
        convert(g.steps[k], tile(to), p.dtype, p.data, 0, most);
      }
  for (int64_t i = begin; i < end; i += kTile) {
    const int64_t n = std::min(kTile, end - i);
    for (size_t k = 0; k < g.steps.size(); ++k) {
      const FusedStep& s = g.steps[k];
      if (i + n < end)
        for (const Fetch& f : g.fetches) {
          const char* line = f.data + (i + n) * f.item + static_cast<int64_t>(k) * f.lines * kLine;
          for (int64_t l = 0; l < f.lines; ++l) __builtin_prefetch(line + l * kLine);
        }
      const void* in[5];
      for (int x = 0; x < s.n_in; ++x) {
        const FusedPlace& p = places[static_cast<size_t>(s.in[x])];
        char* stage = tile(g.tiles + x);
        if (p.kind == Kind::single) {
          in[x] = tile(g.prepared[k * 5 + static_cast<size_t>(x)]);
        } else if (p.kind == Kind::strided) {
          const int64_t item = static_cast<int64_t>(itemsize(p.dtype)),
                        width = static_cast<int64_t>(itemsize(s.compute));
          const bool ready = p.dtype == s.compute && !s.truth;
          in[x] = stage;
          cursors[static_cast<size_t>(g.shape_of[static_cast<size_t>(s.in[x])])].take(
              n, [&](int64_t offset, int64_t stride, int64_t count) {
                const char* from = p.data + (offset - p.first) * item;
                if (ready && stride == 1 && count == n)
                  in[x] = from;
                else
                  convert(s, stage, p.dtype, from, stride, count);
                stage += count * width;
              });
        } else if (p.dtype == s.compute && !s.truth) {
          in[x] = at(s.in[x], i);
        } else {
          convert(s, stage, p.dtype, at(s.in[x], i), 1, n);
          in[x] = stage;
        }
      }
      const FusedPlace& out = places[static_cast<size_t>(s.out)];
      if (!g.past.empty() && g.past[static_cast<size_t>(s.out)]) {
        char* stage = tile(g.tiles + kStages - 1);
        s.loop(stage, in, s.params, n);
        stream(at(s.out, i), stage, n * static_cast<int64_t>(itemsize(out.dtype)));
      } else if (out.dtype == s.computed) {
        s.loop(at(s.out, i), in, s.params, n);
      } else {
        char* stage = tile(g.tiles + kStages - 1);
        s.loop(stage, in, s.params, n);
        converter(out.dtype, s.computed)(at(s.out, i), 1, stage, 1, n);
      }
    }
  }
  if (!g.past.empty()) streamed();
}

void run_fused(const Dims& sizes, const Dims& strides, std::span<const FusedStep> steps,
               std::span<const FusedPlace> places, int tiles) {
  int64_t numel = 1;
  for (int64_t s : sizes) numel *= s;
  if (numel == 0) return;
  FusedGroup g(sizes, strides, steps, places, tiles);
  reach_past_caches(g, places, numel);
  parallel_for(numel, kGrain, [&](int64_t begin, int64_t end) { g.run(places.data(), begin, end); });
}

}  // namespace weft::cpu
