#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "compile/compile.h"
#include "compile/ir.h"
#include "compile/row_group.h"
#include "core/fused.h"
#include "core/fused_rows.h"

// From a recording to kernels. Steps of one group are neighbours that may go tile by tile together: pointwise, results
// of one shape and dense layout, and whatever one of them writes the others touch at the same place only. Structured
// ops that work row by row form groups with pointwise steps over the same rows (row_group.h); all others run by their
// own kernels, in the order of the program.
namespace weft::graph {

class Code;
class Constants;
struct Kept;
class Tuner;
class PlanChoice;

/// Decides, step by step, which steps share a group.
class Grouper {
 public:
  explicit Grouper(bool by_rows = true) : by_rows_(by_rows) {}
  void clear();
  /// Whether `s` goes with the steps since the last one that did not; in any case it is the latest now.
  bool join(const Step& s);

 private:
  bool fits(const Step& s) const;
  const bool by_rows_;
  RowGrouper rows_;
  std::vector<Operand> touched_, written_;
  Dims sizes_, strides_;
  bool open_ = false;  ///< the latest step can have company
  int steps_ = 0;
};

/// Where in memory things lie that never live at once: what nobody holds when a plan runs.
struct Layout {
  /// By buffer; -1: it has memory of its own. From `results` on: of a block of `bytes` for the time of the run. Below:
  /// of a block of large results that outlive the run, where others may be before the results are written.
  std::vector<ptrdiff_t> at;
  /// Before `run` begins, `buffer` gets another place.
  struct Move {
    int run, buffer;
    ptrdiff_t at;
  };
  std::vector<Move> moves;  ///< by run
  size_t bytes = 0, results = 0;

  char* place(ptrdiff_t offset, char* scratch, char* result_block) const {
    const auto r = static_cast<ptrdiff_t>(results);
    return offset < r ? result_block + offset : scratch + (offset - r);
  }
};

/// What runs: single steps and fused groups. Holds for one answer to "who is held when it runs".
struct Plan {
  struct Run {
    int first = 0, count = 1;  ///< steps
    bool fused = false;        ///< `count` may be 1: what else was there is dead
    bool again = false;        ///< a step that has run before (recompute())
    int steps_at = 0, steps = 0, places_at = 0, places = 0, tiles = 0;  ///< in the lists below
    int rows = -1;                                                      ///< in row_groups: runs by rows
  };
  /// A place of a fused group, whose address comes with each call.
  struct Source {
    int step = -1, input = -1;  ///< -1 - k: output k of the step
    const Operand& in(const Graph& g) const {
      const Step& s = g.steps[static_cast<size_t>(step)];
      return input < 0 ? s.out[static_cast<size_t>(-1 - input)] : s.in[static_cast<size_t>(input)];
    }
  };
  /// The recording as the plan runs it, step by step the same but for operands; null: as it is.
  std::shared_ptr<const Graph> rewritten;
  const Graph& graph(const Graph& recorded) const { return rewritten ? *rewritten : recorded; }
  std::vector<Run> runs;
  std::vector<cpu::FusedStep> fused_steps;
  std::vector<int> step_of;  ///< of fused_steps: index in the graph
  std::vector<cpu::FusedPlace> places;
  std::vector<Source> sources;  ///< of places
  std::vector<cpu::RowGroup> row_groups;
  std::vector<char> alive;  ///< by buffer: somebody holds it when the plan runs
  Layout layout;
  /// The same where large results that outlive the run lie in one block (Layout::results); 0 of them: no use.
  Layout with_results;
  size_t scratch_bytes() const {  ///< of a block for what nobody holds, beside the results
    return with_results.results ? with_results.bytes : layout.bytes;
  }
  /// By buffer: it is needed for longer than in the recording, where others may have its memory by then. Empty: none.
  std::vector<char> longer;
  size_t unplanned_bytes = 0;            ///< the same one by one, each result from its op to its last use
  std::shared_ptr<Code> code;            ///< of the groups (code.h)
  std::shared_ptr<Tuner> tuner;          ///< null: the mode has none (tune.h)
  std::shared_ptr<PlanChoice> choice;    ///< null: there is no other plan to choose (plan_choice.h)
  std::shared_ptr<const Kept> kept;      ///< null: no step is left out because of its numbers (constants.h)
  std::shared_ptr<Constants> constants;  ///< null where there is `kept`
  /// Whether the buffer's contents are there before the plan runs, and stay.
  bool keeps(size_t buffer) const;
  /// This, or the other one where that was chosen.
  const Plan& chosen() const;
  size_t kernels = 0, fused_ops = 0, dead_ops = 0;
  size_t shared_ops = 0;                     ///< computed before (share_common())
  size_t again = 0;                          ///< runs that only save memory
  size_t bytes_before = 0, bytes_after = 0;  ///< read and written by kernels that can fuse: one by one, and as planned
};

/// `alive`: of each buffer, whether its contents are wanted after the run (inputs always are). `kept`: Plan::kept.
std::shared_ptr<const Plan> make_plan(const Graph& g, std::vector<char> alive, const CompileOptions& o,
                                      const std::shared_ptr<const Kept>& kept = nullptr);

}  // namespace weft::graph
