#pragma once
#include "core/random.h"

// What a thread that feeds others (a loader's worker) sets up for itself.
namespace weft {

/// While alive, parallel_for of this thread runs on this thread alone.
class SerialGuard {
 public:
  SerialGuard();
  ~SerialGuard();
  SerialGuard(const SerialGuard&) = delete;
  SerialGuard& operator=(const SerialGuard&) = delete;

 private:
  bool before_;
};

/// While alive, default_generator() of this thread is `generator`.
class GeneratorGuard {
 public:
  explicit GeneratorGuard(Generator& generator);
  ~GeneratorGuard();
  GeneratorGuard(const GeneratorGuard&) = delete;
  GeneratorGuard& operator=(const GeneratorGuard&) = delete;

 private:
  Generator* before_;
};

}  // namespace weft
