#pragma once
#include <memory>
#include <vector>

#include "compile/direct.h"
#include "compile/recorder.h"

namespace weft::detail {

/// What the copies of a compiled function share.
class CompiledState {
 public:
  explicit CompiledState(const CompileOptions& o) : cache(o) {}
  mutable graph::Cache cache;
  // Guarded by cache.mutex.
  std::vector<std::unique_ptr<graph::Recorder>> idle;  ///< one per call at once
  graph::DirectTable direct;
};

}  // namespace weft::detail
