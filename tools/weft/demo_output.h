#pragma once
#include <cstdint>

#include "data/checkpoint_manager.h"
#include "profiler/profiler.h"
#include "tools/weft/demo_train.h"

namespace weft::demo {

/// A run that is over.
struct Finished {
  Task& task;
  const Trainer& trainer;
  const Outcome& outcome;
  const Shown& shown;
  int64_t weights;
  double wall_s, peak_mb;
};

/// The files of a run. Each appears complete or not at all.
class Output {
 public:
  /// Makes the folder --out and tries whether all can be written, before hours of training; FileError otherwise.
  Output(const Settings& settings, const nn::Module& model);
  /// checkpoint.pt, when there is an --out: from a copy, while training goes on. FileError when the one before failed.
  void save_checkpoint(const Value& checkpoint);
  /// trace.json, table.txt and profile.html in --profile.
  void save_profile(const profiler::Profiler& p) const;
  /// Waits for checkpoint.pt, then writes model.safetensors, report.html and --json.
  void finish(const Finished& run);

 private:
  const Settings& settings_;
  AsyncSaver saver_;
};

}  // namespace weft::demo
