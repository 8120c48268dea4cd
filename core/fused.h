#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/pointwise.h"

// Several pointwise kernels as one pass over memory: L1-sized tiles go through all of them before the next tile begins.
// The loops are those of the kernels themselves, so the bits are too.
namespace weft::cpu {

/// Where a value of a fused group lives. Values of the group's shape lie in memory order of its layout.
struct FusedPlace {
  enum class Kind : uint8_t {
    memory,  ///< one run of memory of the group's shape
    tile,    ///< scratch of the group, `tile`: never leaves it
    single,  ///< one element for all
    strided  ///< broadcast or in another layout: `sizes` and `strides`
  };
  Kind kind = Kind::memory;
  DType dtype = DType::f32;
  int tile = -1;
  char* data = nullptr;  ///< of all kinds but `tile`
  Dims sizes, strides;
  // In a group of rows (core/fused_rows.h).
  int64_t width = 0;       ///< elements of a row; 0: the place belongs to all rows
  ptrdiff_t scratch = -1;  ///< where it lies in the memory of a block of rows; -1: it does not
  bool kept = true;        ///< it is in memory too, where the contents are wanted
  int64_t first = 0;       ///< which element `data` points to

  /// Whether it takes memory outside of the group.
  bool in_memory() const { return kind != Kind::tile && kept; }
};

/// One kernel: inputs and output are indices of places.
struct FusedStep {
  LoopFn loop;
  DType compute;   ///< what the loop reads
  DType computed;  ///< what it writes
  bool truth;      ///< inputs become 0/1 first
  int n_in;
  int in[5];
  int out;
  const Scalar* params;
};

/// A parameter of a step as machine code takes it.
struct FusedNumber {
  double f64;
  int64_t i64;
};

/// Neighbouring steps as one loop: machine code made for them (compile/generate.h).
struct FusedSegment {
  struct Param {
    int step, index;  ///< of the group's steps, of the step's parameters
  };
  /// `at`: the first element of what it reads, then of what it writes; those that are `single` have one. `numbers`: of
  /// `params`.
  using Run = void (*)(char* const* at, const FusedNumber* numbers, int64_t n);
  Run run = nullptr;
  int first = 0, count = 0;        ///< steps of the group
  std::vector<int> reads, writes;  ///< places
  std::vector<Param> params;
};

/// How a group is cut; 0: as it suggests itself. No result depends on it.
struct FusedCut {
  int64_t tile = 0;   ///< elements that go through all steps together; fewer where their scratch would be too large
  int64_t grain = 0;  ///< elements that a thread takes at a time
  int64_t block = 0;  ///< of a group of rows: rows at a time, at most what it was laid out for
  friend bool operator==(const FusedCut&, const FusedCut&) = default;
};

/// Elements that a thread takes at a time where FusedCut does not say, of many (grain_of()).
inline constexpr int64_t kFusedGrain = 32768;

/// `sizes` and `strides`: dense layout of every output; `tiles`: how many scratch tiles the places use. `segments`: in
/// order; the steps of none run by their own loops.
void run_fused(const Dims& sizes, const Dims& strides, std::span<const FusedStep> steps,
               std::span<const FusedPlace> places, int tiles, std::span<const FusedSegment> segments = {},
               const FusedCut& cut = {});

}  // namespace weft::cpu
