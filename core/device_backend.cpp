#include "core/device_backend.h"

#include <mutex>

#include "core/deferral.h"
#include "core/device_profile.h"
#include "core/error.h"
#include "core/storage.h"

namespace weft {
namespace detail {

constinit thread_local const char* running_op = nullptr;

namespace {

struct Loaded {
  std::string why;
  const DeviceBackend* table = load_cuda_backend(why);
};
const Loaded& loaded() {
  static const Loaded* l = new Loaded;  // never destroyed: tensors in static variables may die later
  return *l;
}

/// While alive: the kernel of `op` runs on `device`, and what it does on the host is not put off.
class Running {
 public:
  Running(const DeviceBackend& backend, const char* op, Device device)
      : backend_(backend), op_before_(running_op), device_before_(backend.current_device()), device_(device.index) {
    backend.begin(op);
    running_op = op;
    thread_state.deferral = nullptr;
    if (device_ != device_before_) [[unlikely]]
      backend.set_device(device_);
    if (const auto cause = device_cause.load(std::memory_order_acquire)) [[unlikely]] {
      device_profiler()->push(cause());
      pushed_ = true;
    }
  }
  ~Running() {
    if (pushed_) [[unlikely]]
      device_profiler()->pop();
    running_op = op_before_;
    thread_state.deferral = deferral_before_;
    if (device_ != device_before_) [[unlikely]]
      backend_.set_device(device_before_);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  const DeviceBackend& backend_;
  const char* op_before_;
  Deferral* deferral_before_ = thread_state.deferral;
  int device_before_, device_;
  bool pushed_ = false;
};

// Host memory is read and written at once here: what was put off over it comes first.
void settle_host(const Tensor* tensors, int n, bool written) {
  if (!thread_state.deferral) [[likely]]
    return;
  for (int i = 0; i < n; ++i)
    if (tensors[i].defined() && tensors[i].device().is_cpu()) settle(tensors[i].impl()->storage, written);
}

}  // namespace

const DeviceBackend* cuda_backend() { return loaded().table; }
const std::string& cuda_missing() { return loaded().why; }

const DeviceBackend& need_cuda(Device device, const char* what) {
  const Loaded& l = loaded();
  WEFT_CHECK(l.table != nullptr, "{} on {}: {}; use device \"cpu\"", what, device, l.why);
  WEFT_CHECK(device.index >= 0 && device.index < l.table->devices, "{} on {}: this machine has {} CUDA device(s)", what,
             device, l.table->devices);
  return *l.table;
}

void run_on_device(const OpCall& c, Device device) {
  const DeviceBackend& backend = need_cuda(device, c.op.name);
  WEFT_CHECK(c.op.cuda != nullptr, "{}: has no kernel for {}; compute it on the host: .to(\"cpu\")", c.op.name, device);
  settle_host(c.in, c.n_in, false);
  settle_host(c.out, c.n_out, true);
  const Running running(backend, c.op.name, device);
  c.op.cuda(c);
}

void run_on_device(const PointwiseCall& c, Device device) {
  const DeviceBackend& backend = need_cuda(device, c.op.name);
  const CustomOpSource* source = c.loops.cuda ? nullptr : find_custom_op(c.op.name);
  WEFT_CHECK(c.loops.cuda || source, "{}: has no kernel for {}; compute it on the host: .to(\"cpu\")", c.op.name,
             device);
  settle_host(c.in, c.n_in, false);
  const Running running(backend, c.op.name, device);
  if (source) return backend.custom(c, *source);
  c.loops.cuda(c.compute, c.truth, c.out, c.in, c.n_in, c.params);
}

}  // namespace detail

DefaultDevice::DefaultDevice(Device device) {
  if (device.is_cuda()) detail::need_cuda(device, "DefaultDevice");
  detail::thread_state.default_device = device;
}

Tensor Tensor::pin_memory() const {
  WEFT_CHECK(device().is_cpu(), "pin_memory: {} is on a device; only host memory can be pinned", *this);
  if (is_pinned()) return *this;
  const detail::DeviceBackend& backend = detail::need_cuda(Device(DeviceType::cuda), "pin_memory");
  struct Pinned {
    const detail::DeviceBackend& backend;
    void* data;
    size_t bytes;
  };
  const size_t bytes = nbytes();
  auto* pinned = new Pinned{backend, backend.allocate_pinned(bytes), bytes};
  Tensor out = from_blob(pinned->data, sizes(), {.dtype = dtype()}, [pinned] {
    pinned->backend.free_pinned(pinned->data, pinned->bytes);
    delete pinned;
  });
  NoGrad guard;
  return out.copy_(detach());
}

bool Tensor::is_pinned() const {
  const detail::DeviceBackend* backend = device().is_cpu() ? detail::cuda_backend() : nullptr;
  return backend && backend->is_pinned(impl_->storage->data);
}

}  // namespace weft
