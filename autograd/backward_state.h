#pragma once
#include <functional>

#include "core/tensor.h"

// Facts of the backward pass that runs on this thread.
namespace weft::autograd {

/// Calls `f` when this thread's innermost backward pass ends, also by an exception; never where none runs.
void at_backward_end(std::function<void()> f);

/// From now on the gradients of this thread's backward pass are multiplied by the scale of a GradScaler: leaves that
/// they reach remember it.
void note_scaled_backward();
/// Whether the .grad of a leaf is what such a pass left there: nobody has changed or replaced it since.
bool has_scaled_grad(const Tensor& leaf);

/// Name of the op whose values this thread's SavedTensorHooks are being given; null outside of a pack function.
const char* op_being_saved();
class SavingOp {
 public:
  explicit SavingOp(const char* name);
  ~SavingOp();
  SavingOp(const SavingOp&) = delete;
  SavingOp& operator=(const SavingOp&) = delete;

 private:
  const char* before_;
};

}  // namespace weft::autograd
