#pragma once
#include "core/dispatch.h"

// Which structured ops work row by row: each row of the results depends on the same row of the inputs alone, so any
// block of rows can be computed by itself, by the op's own kernel and with the same bits.
namespace weft {

struct RowWise {
  int64_t rows = 0;   ///< 0: not by rows
  unsigned in = 0;    ///< bit i: input i is `rows` rows side by side; other inputs belong to all rows
  unsigned out = 0;   ///< the same of outputs; without RowKernels all that are defined
  bool slow = false;  ///< computes longer than memory takes to bring the next rows: gains less by finding them near
  /// Rows whose blocks one thread takes in order, and which no block goes beyond: their sums are a result's. 0: any.
  int64_t chunk = 0;
  size_t partial = 0;  ///< bytes that blocks leave for RowKernels::finish
  friend bool operator==(const RowWise&, const RowWise&) = default;
};

/// A block of rows.
struct RowBlock {
  int64_t first, all;  ///< its first row; how many rows there are in all
  void* partial;       ///< RowWise::partial bytes, aligned, for all blocks
};
/// Of ops with outputs that belong to all rows, or to no block: `block` instead of the op's kernel, for operands as
/// narrow_rows() says, then once `finish` for operands as they are; of those only geometry, and what has no rows, is
/// there. Null: the op's kernel is all it takes.
struct RowKernels {
  void (*block)(const OpCall& c, const RowBlock& b) = nullptr;
  void (*finish)(const OpCall& c, void* partial) = nullptr;
};
RowKernels row_kernels(const OpRecord& op);

/// Nothing of operands but their geometry is looked at. Operands that have rows are contiguous.
RowWise row_wise(const OpCall& c);

/// Bytes of attributes that narrow_rows() takes at most.
inline constexpr size_t kRowAttrs = 256;
/// `attrs` of a row-wise call, for `rows` of its rows, given as tensors [rows, elements of a row].
void narrow_rows(const OpRecord& op, void* attrs, int64_t rows);

}  // namespace weft
