#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "compile/plan.h"
#include "core/storage.h"

// Kernels of a plan that are given nothing but numbers (a mask made of ones, a range, a table of positions): what they
// make stays in memory from run to run, and they run again when a number has changed.
namespace weft::graph {

/// Of one plan. Any thread may use it.
class Constants {
 public:
  /// Marks such runs of `plan`, whose runs have their order. Null: there are none that matter.
  static std::shared_ptr<Constants> find(const Graph& g, Plan& plan);
  /// Whether the buffer's contents are kept.
  bool holds(size_t buffer) const { return at_[buffer] >= 0; }
  size_t runs() const { return runs_; }

  /// One run of the plan.
  class Session {
   public:
    /// `constants` may be null. `data`: of all steps, that of step k from data_at[k] on.
    Session(Constants* constants, const Graph& g, std::span<const unsigned char> data,
            const std::vector<size_t>& data_at);
    /// Whether constant runs are to be left out.
    bool known() const { return known_; }
    bool holds(size_t buffer) const { return constants_ && constants_->holds(buffer); }
    char* at(size_t buffer) const { return block_->data() + constants_->at_[buffer]; }
    /// All runs have ended.
    void finish();

   private:
    Constants* const constants_;
    std::shared_ptr<StorageBlock> block_;
    std::vector<unsigned char> numbers_;
    bool known_ = false;
  };

 private:
  std::vector<ptrdiff_t> at_;  ///< by buffer
  size_t bytes_ = 0, runs_ = 0;
  std::vector<size_t> steps_;  ///< of the runs
  std::mutex mutex_;
  std::shared_ptr<StorageBlock> block_;  ///< null: they have not run
  std::vector<unsigned char> numbers_;   ///< with which they ran, those of all steps_
};

}  // namespace weft::graph
