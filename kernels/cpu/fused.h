#pragma once
#include <vector>

#include "core/fused.h"
#include "kernels/cpu/strided.h"

namespace weft::cpu {

/// A group of pointwise kernels, prepared to run on any stretch of its elements. Refers to the steps and segments it
/// was made of.
struct FusedGroup {
  /// What runs on a tile at once.
  struct Item {
    int step;
    const FusedSegment* segment;  ///< null: the step
  };
  std::span<const FusedStep> steps;
  std::vector<Item> items;
  std::vector<StridedLoop<2>> shapes;  ///< of the strided places, in order
  std::vector<int> shape_of;           ///< by place; -1
  std::vector<int> prepared;           ///< by step and input: tile of a single value converted once a piece; -1
  std::vector<char> past;              ///< by place: results that go past the caches; empty: none
  std::vector<char> moved;             ///< by place: results of a segment whose tile it reads as another dtype
  /// Memory to be read, of which items ask for lines of the next tile.
  struct Fetch {
    const char* data;
    int64_t item, lines;  ///< of an element; of a tile, for each item
  };
  std::vector<Fetch> fetches;
  int64_t row = 0;  ///< elements of a row that tiles do not cross, whose strided operands are read in place; 0: none
  int64_t tile;     ///< elements that go at a time
  int64_t slot;     ///< bytes of a scratch tile
  int64_t ahead;    ///< elements that are asked for before their tile begins
  int tiles;        ///< scratch tiles: of places, then prepared ones, then stages
  int stages;       ///< operands of an item in its own types

  FusedGroup(const Dims& sizes, const Dims& strides, std::span<const FusedStep> steps,
             std::span<const FusedPlace> places, int tiles, std::span<const FusedSegment> segments);
  /// `wanted` elements, 0: where segments gain by tiles of another size. After `past` is known.
  void choose_tile(std::span<const FusedPlace> places, int64_t wanted = 0);
  /// Elements [begin, end) in the order of memory, on this thread. `places`: those it was made of; addresses may
  /// differ.
  void run(const FusedPlace* places, int64_t begin, int64_t end) const;
  /// From now on steps ask for what lies there.
  void fetch_ahead(const FusedPlace& place);

 private:
  int64_t lines_of(int64_t item) const;
};

}  // namespace weft::cpu
