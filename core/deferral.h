#pragma once
#include <cstddef>

#include "core/pointwise.h"

// The hook through which compile/ takes kernels instead of letting them run. Everything around a kernel - checks,
// shapes, outputs, history, versions - has happened at once, as always; only memory is not written yet. While a thread
// puts nothing off, its pointer (ThreadState::deferral) is null, and reading that is all it costs.
namespace weft::detail {

/// A pointwise kernel: the arguments of cpu::run_pointwise, and whose loops they are.
struct PointwiseCall {
  const PointwiseInfo& op;
  const Loops& loops;  ///< of `op`: forward or a gradient
  DType compute;
  bool truth;
  const Tensor& out;
  const Tensor* in;
  int n_in;
  const Scalar* params;
};

class Deferral {
 public:
  /// A kernel to run later, after all that were put off before it.
  virtual void put_off(const OpCall& call, size_t attrs_bytes) = 0;
  virtual void put_off(const PointwiseCall& call) = 0;
  /// The host is about to read this memory, or to write it where no kernel has read it yet. `keeps`: it may do so, and
  /// write anything, at any time from now on.
  virtual void settle(Storage* storage, bool keeps) = 0;
  /// Memory of a storage that begins (cpu_allocate) or has ended (cpu_free) in this thread.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* block, size_t bytes) noexcept = 0;
  /// A storage of `bytes` that begins in this thread as a part of a larger block; null: it is for allocate(). Its end
  /// is a release() of 0 bytes.
  virtual Storage* part(size_t bytes) = 0;

 protected:
  ~Deferral() = default;
};

}  // namespace weft::detail
