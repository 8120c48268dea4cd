#pragma once
#include <vector>

#include "core/fused.h"
#include "kernels/cpu/strided.h"

namespace weft::cpu {

/// A group of pointwise kernels, prepared to run on any stretch of its elements. Refers to the steps it was made of.
struct FusedGroup {
  std::span<const FusedStep> steps;
  std::vector<StridedLoop<2>> shapes;  ///< of the strided places, in order
  std::vector<int> shape_of;           ///< by place; -1
  std::vector<int> prepared;           ///< by step and input: tile of a single value converted once a piece; -1
  std::vector<char> past;              ///< by place: results that go past the caches; empty: none
  /// Memory to be read, of which steps ask for lines of the next tile.
  struct Fetch {
    const char* data;
    int64_t item, lines;  ///< of an element; of a tile, for each step
  };
  std::vector<Fetch> fetches;
  int tiles;  ///< scratch tiles: of places, then prepared ones, then stages

  FusedGroup(const Dims& sizes, const Dims& strides, std::span<const FusedStep> steps,
             std::span<const FusedPlace> places, int tiles);
  /// Elements [begin, end) in the order of memory, on this thread. `places`: those it was made of; addresses may
  /// differ.
  void run(const FusedPlace* places, int64_t begin, int64_t end) const;
  /// From now on steps ask for what lies there.
  void fetch_ahead(const FusedPlace& place);
};

}  // namespace weft::cpu
