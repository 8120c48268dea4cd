#pragma once
#include "compile/ir.h"
#include "core/tensor.h"
#include "core/thread_state.h"

namespace weft::graph {

/// While it lives kernels run as they would have run at once, without history.
struct Running {
  detail::ThreadState before = detail::thread_state;
  Running() {
    detail::thread_state.deferral = nullptr;
    detail::thread_state.grad_mode = false;
  }
  ~Running() {
    detail::thread_state.deferral = before.deferral;
    detail::thread_state.grad_mode = before.grad_mode;
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
};

/// What `o` names, in `storage`, of which it becomes an owner.
Tensor tensor_of(const Operand& o, Storage& storage);

}  // namespace weft::graph
