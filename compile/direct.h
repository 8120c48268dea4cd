#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compile/replay.h"

// When a compiled function's calls may be replayed without running its code (the rule: CompileMode).
namespace weft::graph {

/// Matched calls in a row that must agree first.
inline constexpr int kAgree = 3;
/// After so many matched calls without that, no more are watched.
inline constexpr int kMostTries = 16;

/// Arguments of one kind - shapes, dtypes, which share memory, numbers, modules, and the thread's switches - and what
/// calls with them came to. Guarded by Cache::mutex, but for the signature, which stays.
struct Seen {
  std::vector<uint64_t> signature;
  Facts facts;  ///< of the last matched call that could be replayed
  int agreed = 0, tries = 0;
  std::string refused;                             ///< why no call is watched or replayed any more
  std::shared_ptr<const Replayable> ready, other;  ///< other: with the other plan, where there is one (plan_choice.h)
  std::vector<std::unique_ptr<Replayer>> idle;
  /// Captured tensors could be arguments that were the same in all calls; then only those same may be replayed.
  std::vector<const Storage*> same;
  bool any = false;  ///< calls with other arguments agreed as well
  int64_t calls = 0;

  /// Nothing is ready, and learning begins again.
  void drop();
  /// No call is watched or replayed any more.
  void refuse(const std::string& why);
};

/// Why a matched call cannot be replayed; "" when it can, and then `facts` are what it came to. `arguments`: the
/// tensors among them.
std::string refusal(const Observed& seen, const std::vector<const Tensor*>& arguments,
                    const std::vector<Tensor>& results, bool pure, Facts& facts);

/// What a compiled function keeps for direct replay. All calls with Cache::mutex held.
class DirectTable {
 public:
  /// Null: so many calls were never alike that no more are kept.
  std::shared_ptr<Seen> find(const std::vector<uint64_t>& signature, size_t most);
  /// Owners of the captured tensors of `f`: one of each for all facts, so that others can be told from it.
  std::vector<std::shared_ptr<const Captured>> hold(const Facts& f);

 private:
  std::vector<std::shared_ptr<Seen>> seen_;
  std::vector<std::weak_ptr<const Captured>> captured_;
  int unlike_ = 0;  ///< calls in a row with new arguments
};

}  // namespace weft::graph
