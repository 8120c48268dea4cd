#pragma once
#include <utility>

#include "compile/ir.h"
#include "core/allocator.h"
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

/// Memory for the time of a call.
class Block {
 public:
  explicit Block(size_t bytes) : at_(static_cast<char*>(detail::cpu_allocate(bytes))), bytes_(bytes) {}
  Block(Block&& o) noexcept : at_(std::exchange(o.at_, nullptr)), bytes_(o.bytes_) {}
  Block& operator=(Block&&) = delete;
  ~Block() {
    if (at_) detail::cpu_free(at_, bytes_);
  }
  char* at() const { return at_; }

 private:
  char* at_;
  size_t bytes_;
};

/// Whether the op's kernel takes numbers from a generator: the order of such kernels is that of the program.
bool draws(const OpRecord* op);

/// What `o` names, in `storage`, of which it becomes an owner.
Tensor tensor_of(const Operand& o, Storage& storage);

/// Runs the step by its op's own kernel. `data`: its parameters or attributes, and numbers (recorder.h). `in` and `out`
/// are room, empty afterwards.
void run_step(const Step& s, const unsigned char* data, Storage* storages, std::vector<Tensor>& in,
              std::vector<Tensor>& out);

}  // namespace weft::graph
