#pragma once
#include <vector>

#include "compile/ir.h"
#include "core/fused_rows.h"

// Groups of rows: neighbouring steps of which each row of every result needs the same row of what the group has made,
// and nothing else of it. Structured ops that work row by row say so (core/row_wise.h); pointwise steps belong to
// them when their results are as many rows side by side.
namespace weft::graph {

/// A pointwise step that tiles can take part by part.
bool fusable(const Step& s);
/// `o` as seen by a pointwise step that writes `out`: element by element in the same layout.
inline bool linear(const Operand& o, const Operand& out) { return o.sizes == out.sizes && o.strides == out.strides; }

/// Elements of the memory that row r of `out` (of `rows` rows) reads of `o` at row r, when that is all of it that it
/// reads: all rows together; 0: not by rows.
int64_t numel_by_rows(const Operand& o, const Operand& out, int64_t rows);

/// Decides, step by step, which steps can be of one group of rows.
class RowGrouper {
 public:
  void clear();
  /// Whether `s` can go by rows with all steps that were added.
  bool joins(const Step& s) const;
  /// `s` is of the group, for this or another reason.
  void add(const Step& s);
  bool structured() const { return rows_ > 0; }  ///< a structured op is among them

 private:
  // Memory that a step touches. numel: as rows side by side; 0: not by rows.
  struct Ref {
    int buffer;
    DType dtype;
    int64_t offset, numel;
    bool written;
  };
  static void refs_of(const Step& s, int64_t rows, std::vector<Ref>& refs);
  bool free_of_conflicts(const std::vector<Ref>& refs) const;

  std::vector<Ref> refs_;
  mutable std::vector<Ref> now_;  ///< of the step that is looked at
  int64_t rows_ = 0;              ///< 0: pointwise steps only
  int64_t numel_ = 0;             ///< of them
  int64_t chunk_ = 0;             ///< RowWise::chunk of those that have one
  size_t steps_ = 0;
  bool can_ = false;  ///< all steps so far may be of a group of rows
};

struct Plan;
/// Fills in how many rows go at a time and where the group's results lie: those that do not leave the group, or leave
/// it past the caches, in memory of a block. The group's places are those of `plan` from `places_at` on; contents that
/// no step from `end` on wants (`last_use`: by buffer) do not leave it.
void lay_out_rows(const Graph& g, const std::vector<int>& steps, const std::vector<int>& last_use, int end, Plan& plan,
                  size_t places_at, cpu::RowGroup& group);
/// Whether `steps` run faster by rows than kernel by kernel.
bool rows_pay(const Graph& g, const std::vector<int>& steps, const std::vector<int>& last_use, int end);

}  // namespace weft::graph
