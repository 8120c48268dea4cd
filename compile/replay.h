#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "compile/recorder.h"
#include "core/packed_weight.h"

// Direct replay: a recorded call as data. Everything that its kernels are given was prepared once; a call only says
// where its arguments lie, and gets results in fresh memory.
namespace weft::graph {

/// What one matched call came to. Calls of equal facts do the same.
struct Facts {
  /// Where a buffer comes from.
  struct Source {
    enum class Kind : uint8_t { argument, captured, born } kind = Kind::born;
    int argument = -1;            ///< a tensor among the arguments
    Storage* captured = nullptr;  ///< held by Replayable
    friend bool operator==(const Source&, const Source&) = default;
  };
  struct Result {
    enum class Kind : uint8_t { undefined, argument, earlier, made } kind = Kind::undefined;
    int at = -1;  ///< a tensor among the arguments, an earlier result
    bool inference = false;
    Operand view;  ///< of what was made in the call
    bool same(const Result& o) const {
      return kind == o.kind && at == o.at && inference == o.inference && view.same_place(o.view);
    }
  };
  std::shared_ptr<Entry> entry;
  std::shared_ptr<const Plan> plan;
  std::vector<Source> sources;  ///< by buffer
  std::vector<char> written;    ///< by buffer
  std::vector<unsigned char> data;
  std::vector<size_t> data_at;
  std::vector<Result> results;

  /// What differs, and where; "" when nothing does.
  std::string difference(const Facts& now) const;
};

/// Keeps a captured tensor's memory.
struct Captured {
  explicit Captured(Storage* s) : storage(s) { s->retain(); }
  ~Captured() { Storage::release(storage); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  Storage* const storage;
};

/// Facts and the memory that replaying them takes. Never changes.
struct Replayable {
  Replayable(Facts f, std::vector<std::shared_ptr<const Captured>> held);
  const Graph& graph() const { return facts.plan->graph(facts.entry->graph); }
  Facts facts;
  std::vector<std::shared_ptr<const Captured>> captured;  ///< of the facts
  std::vector<char> result;                               ///< by buffer: results lie in it
};

/// One call at a time.
class Replayer {
 public:
  /// freezing: CompileOptions::freezing.
  Replayer(std::shared_ptr<const Replayable> what, bool freezing);
  ~Replayer();
  Replayer(const Replayer&) = delete;
  Replayer& operator=(const Replayer&) = delete;
  /// `arguments`: the tensors among them. False, and nothing has happened, when memory of others overlaps. Errors that
  /// a kernel sees come from here. `tunes`: kernels may be timed (tune.h).
  bool run(const std::vector<const Tensor*>& arguments, std::vector<Tensor>& results, bool tunes);
  const Replayable& what() const { return *what_; }

 private:
  struct Patch {
    void* where;  ///< a pointer into the buffer
    ptrdiff_t offset;
  };
  struct Call {
    const Step* step;
    const unsigned char* data;  ///< attributes or parameters
    size_t first;               ///< of tensors_
    int frozen = -1;            ///< of frozen_
  };
  /// A captured weight as its kernel reads it.
  struct Frozen {
    const Storage* storage;
    const void* data;  ///< and `version`: what was packed
    uint32_t version;
    cpu::PackedWeight packed;
  };
  struct Group {
    std::vector<cpu::FusedStep> steps;
    std::vector<cpu::FusedPlace> places;
    std::vector<const void*> attrs;  ///< of structured ops
  };
  struct Run {
    int group;  ///< -1: `call`
    size_t call;
    const Plan::Run* plan;
  };
  void prepare_group(const Plan::Run& run);
  void prepare_call(int step, bool freezing);
  void run_frozen(Frozen& weight, const OpCall& call);
  void point(size_t buffer, char* data);

  const std::shared_ptr<const Replayable> what_;
  std::unique_ptr<Storage[]> storages_;      ///< of buffers; their memory belongs to others
  std::vector<std::vector<Patch>> patches_;  ///< by buffer
  Storage numbers_;
  std::vector<Tensor> tensors_;
  std::vector<Call> calls_;
  std::vector<Frozen> frozen_;
  std::vector<Group> groups_;
  std::vector<Run> runs_;
};

}  // namespace weft::graph
