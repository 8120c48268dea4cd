#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/value.h"
#include "data/transfer.h"

namespace weft {

/// save() on another thread, from a copy made when it was called: training goes on, and changes nothing in the file.
/// One save runs at a time; the next waits for it, so that at most one copy is alive. What went wrong is thrown by the
/// next save() or wait(). Not for several threads at once.
class AsyncSaver {
 public:
  AsyncSaver();
  AsyncSaver(const AsyncSaver&) = delete;
  AsyncSaver& operator=(const AsyncSaver&) = delete;
  /// Waits; an error that nobody asked for is lost.
  ~AsyncSaver();

  /// Copies `value` (CPU tensors and tensors of devices) and starts to write it as save() does; `then` runs on the
  /// other thread once the file is complete. Throws what the save before met, and then starts nothing.
  void save(std::string path, const Value& value, std::function<void()> then = {});
  /// Until all is written; FileError when it could not be.
  void wait();

 private:
  struct Running;
  std::unique_ptr<Running> running_;
};

struct CheckpointOptions {
  int64_t keep_last = 3;            ///< of the largest steps; the others go once a new file is complete
  std::string name = "checkpoint";  ///< files are NAME-STEP.pt
  bool asynchronous = false;        ///< write on another thread, as AsyncSaver does
};

/// The checkpoints of one training run in one folder: written atomically, the newest `keep_last` of them kept. Whatever
/// moment the process is killed at, the newest complete one is there and load_latest() finds it.
///
///     CheckpointManager checkpoints("run1", {.keep_last = 2, .asynchronous = true});
///     if (auto last = checkpoints.load_latest()) state.load_state_dict(last->value);
///     ... checkpoints.save(step, state.state_dict());
///
/// One process at a time writes into a folder under one name.
class CheckpointManager {
 public:
  /// Makes the folder. Errors: keep_last below 1, a name that is empty or holds a slash; FileError when the folder
  /// cannot be made.
  explicit CheckpointManager(std::string folder, const CheckpointOptions& options = {});

  /// Saves as NAME-STEP.pt, step >= 0. FileError as save(); when asynchronous, of the save before.
  void save(int64_t step, const Value& value);
  /// Until all is written.
  void wait() { saver_.wait(); }

  /// Steps of the files there are, ascending.
  std::vector<int64_t> steps() const;
  std::string path(int64_t step) const;

  struct Loaded {
    int64_t step;
    Value value;
    std::vector<std::string> skipped;  ///< why newer files were passed over
  };
  /// The newest checkpoint that can be read, damaged ones passed over; nothing when there are none. FileError when
  /// there are files and none can be read.
  std::optional<Loaded> load_latest(const TransferOptions& o = {}) const;

 private:
  std::string folder_;
  CheckpointOptions options_;
  AsyncSaver saver_;
};

}  // namespace weft
