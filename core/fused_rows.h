#pragma once
#include <vector>

#include "core/dispatch.h"
#include "core/fused.h"

// Pointwise kernels and kernels that work row by row (core/row_wise.h) as one pass over memory: blocks of rows that
// fit in the second cache go through all of them before the next block begins. The kernels are the ops' own, given the
// rows of a block, so the bits are theirs too.
namespace weft::cpu {

/// A kernel of a structured op. Its operands are places of the group; -1: undefined.
struct RowCall {
  const OpRecord* op = nullptr;
  std::vector<int> in, out;
  size_t attrs_bytes = 0, partial = 0;  ///< RowWise::partial
  int step = 0;                         ///< means nothing here: for who prepares the attributes
};

/// One kernel after another: a group of pointwise steps of one shape, or a structured op.
struct RowPart {
  int call = -1;                             ///< in RowGroup::calls; -1: pointwise
  int steps_at = 0, steps = 0;               ///< pointwise: in the lists of run_rows
  int places_at = 0, places = 0, tiles = 0;  ///< both: its places
  Dims sizes;                                ///< pointwise: of the results, which are contiguous
  std::vector<int> made;                     ///< places that this part writes and that are kept and in scratch
};

struct RowGroup {
  int64_t rows = 0, block = 1;  ///< rows at a time
  int64_t chunk = 0;            ///< RowWise::chunk of its calls
  size_t scratch = 0;           ///< bytes for a block
  size_t bytes = 0;             ///< of all memory that it reads and writes
  std::vector<RowPart> parts;
  std::vector<RowCall> calls;
};

/// Whether kernels that touch `bytes` of memory one after another do not find it in the caches again.
bool rows_leave_caches(size_t bytes);
/// `attrs`: of the calls. Places of pointwise steps count from the first place of their part. `segments`: of the
/// pointwise parts, in order; empty: none.
void run_rows(const RowGroup& group, std::span<const FusedStep> steps, std::span<const FusedPlace> places,
              std::span<const void* const> attrs, std::span<const std::vector<FusedSegment>> segments = {},
              const FusedCut& cut = {});

}  // namespace weft::cpu
