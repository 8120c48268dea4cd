#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "compile/compile.h"
#include "compile/plan.h"
#include "core/storage.h"

// Steps that are given nothing but numbers (a mask made of ones, a range, a table of positions): what others read of
// theirs is kept from call to call, once two calls in a row came with the same numbers. Then another plan runs, which
// leaves these steps out. Calls with other numbers run as they always did, and after a few such everything does.
namespace weft::graph {

/// Results that are kept, of a plan that leaves out the steps that make them. Never changes.
struct Kept {
  std::vector<char> steps;    ///< by step: it is left out
  std::vector<ptrdiff_t> at;  ///< by buffer: where it lies in the block; -1: it is not kept
  size_t bytes = 0;
  std::shared_ptr<StorageBlock> block;
  std::shared_ptr<const void> counted;  ///< among all that is kept in the process

  bool holds(size_t buffer) const { return at[buffer] >= 0; }
  char* place(size_t buffer) const { return block->data() + at[buffer]; }
};

/// Of one plan that leaves nothing out. Any thread may use it.
class Constants {
 public:
  explicit Constants(const CompileOptions& o) : options_(o) {}
  /// The plan of a run with these numbers (`data`: of all steps, that of step k from data_at[k] on); null: the one that
  /// leaves nothing out. It may have to be made.
  std::shared_ptr<const Plan> plan_for(const Graph& recorded, const Plan& base, std::span<const unsigned char> data,
                                       const std::vector<size_t>& data_at);
  /// What the last run had of plan_for().
  std::shared_ptr<const Plan> latest() const;
  /// There may be something to keep after the next run.
  bool open() const;
  /// plan_for() is null from now on.
  bool given_up() const { return given_up_.load(std::memory_order_relaxed); }

 private:
  template <class Data>
  std::shared_ptr<const Plan> make(const Graph& recorded, const Plan& base, Data data_of) const;

  const CompileOptions options_;
  mutable std::mutex mutex_;
  Kept found_;                          ///< without a block; no steps: nobody has looked
  std::vector<unsigned char> numbers_;  ///< of the last run, those of the steps
  std::shared_ptr<const Plan> plan_;    ///< for numbers_; null: none yet
  int64_t runs_ = 0, changes_ = 0;      ///< of numbers_
  std::atomic<bool> given_up_ = false;
};

/// What `plan` runs as now: with its constants kept, where they are.
std::shared_ptr<const Plan> in_use(const std::shared_ptr<const Plan>& plan);

}  // namespace weft::graph
