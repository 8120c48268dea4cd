#pragma once
#include "core/device.h"
#include "core/dtype.h"

namespace weft {

namespace detail {
class Deferral;

/// Per-thread switches that the dispatch path reads: one struct, fetched once per op.
struct ThreadState {
  bool grad_mode = true;
  bool inference = false;
  bool anomaly = false;
  bool autocast = false;  ///< ops cast their inputs as their records say
  bool autocast_cache = false;
  DType autocast_dtype = DType::bf16;
  Device default_device;
  int saved_hooks = 0;           ///< depth of SavedTensorHooks on this thread
  Deferral* deferral = nullptr;  ///< takes this thread's kernels instead of running them (core/deferral.h)
};
extern constinit thread_local ThreadState thread_state;
}  // namespace detail

inline bool is_grad_enabled() { return detail::thread_state.grad_mode; }
inline bool is_inference_mode_enabled() { return detail::thread_state.inference; }

namespace detail {
template <bool Value>
class GradModeGuard {
 public:
  GradModeGuard() : before_(thread_state.grad_mode) { thread_state.grad_mode = Value; }
  ~GradModeGuard() { thread_state.grad_mode = before_; }
  GradModeGuard(const GradModeGuard&) = delete;
  GradModeGuard& operator=(const GradModeGuard&) = delete;

 private:
  bool before_;
};
}  // namespace detail

/// While alive, ops of this thread record no history (torch.no_grad).
using NoGrad = detail::GradModeGuard<false>;
/// While alive, ops of this thread record history again, e.g. inside NoGrad (torch.enable_grad).
using EnableGrad = detail::GradModeGuard<true>;

/// Where this thread makes a tensor that names no device: on the CPU, or where the innermost DefaultDevice says
/// (torch.get_default_device).
inline Device default_device() { return detail::thread_state.default_device; }

/// While alive, this thread makes tensors that name no device, so also a module's parameters, on `device`
/// (torch's `with torch.device("cuda"):`). Readers of files, loaders and samplers go on making tensors of the host, and
/// from_blob takes its memory for the host's. weft::Error where there is no such device.
class DefaultDevice {
 public:
  explicit DefaultDevice(Device device);
  ~DefaultDevice() { detail::thread_state.default_device = before_; }
  DefaultDevice(const DefaultDevice&) = delete;
  DefaultDevice& operator=(const DefaultDevice&) = delete;

 private:
  Device before_ = default_device();
};

/// NoGrad, and tensors made inside can never take part in autograd (torch.inference_mode).
class InferenceMode {
 public:
  explicit InferenceMode(bool on = true) : before_(detail::thread_state) {
    if (on)
      detail::thread_state.grad_mode = false;
    else if (before_.inference)
      detail::thread_state.grad_mode = true;
    detail::thread_state.inference = on;
  }
  ~InferenceMode() {
    detail::thread_state.grad_mode = before_.grad_mode;
    detail::thread_state.inference = before_.inference;
  }
  InferenceMode(const InferenceMode&) = delete;
  InferenceMode& operator=(const InferenceMode&) = delete;

 private:
  detail::ThreadState before_;
};

}  // namespace weft
