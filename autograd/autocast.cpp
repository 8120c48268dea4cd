#include "autograd/autocast.h"

#include <unordered_map>
#include <utility>

#include "core/autocast.h"
#include "core/error.h"

namespace weft {
namespace {

struct CachedCast {
  Tensor leaf;    ///< keeps the key alive
  Tensor source;  ///< the leaf's memory at the time of the cast
  uint32_t version;
  Tensor cast;

  bool is_of(const Tensor& t, DType to) const {
    return cast.dtype() == to && version == t.version() && source.shares_storage_with(t) &&
           source.dtype() == t.dtype() && source.storage_offset() == t.storage_offset() &&
           source.sizes() == t.sizes() && source.strides() == t.strides();
  }
};

// Of this thread's guards. A dtype changed by a nested guard replaces the entry.
struct Casts {
  int guards = 0;
  std::unordered_map<const TensorImpl*, CachedCast> cache;
};
thread_local Casts held;

thread_local DType last_dtype = DType::f32;
thread_local DeviceType device_type = DeviceType::cpu;  // of the innermost guard: other devices' tensors stay

// Parameters: they are cast again and again. Results of ops would only be kept alive.
bool cacheable(const Tensor& t) {
  const TensorImpl* p = t.impl();
  return detail::thread_state.autocast_cache && held.guards > 0 && p->requires_grad && !p->grad_fn && !p->base &&
         !is_inference_mode_enabled();
}

}  // namespace

Autocast::Autocast(Device device, DType dtype, AutocastOptions o)
    : enabled_before_(detail::thread_state.autocast),
      cache_before_(detail::thread_state.autocast_cache),
      dtype_before_(detail::thread_state.autocast_dtype),
      device_before_(device_type) {
  WEFT_CHECK_TYPE(dtype == DType::bf16 || dtype == DType::f16, "Autocast: dtype must be bf16 or f16, got {}", dtype);
  detail::thread_state.autocast = o.enabled;
  detail::thread_state.autocast_cache = o.cache;
  detail::thread_state.autocast_dtype = dtype;
  device_type = device.type;
  if (o.enabled) last_dtype = dtype;
  ++held.guards;
}

Autocast::~Autocast() {
  detail::thread_state.autocast = enabled_before_;
  detail::thread_state.autocast_cache = cache_before_;
  detail::thread_state.autocast_dtype = dtype_before_;
  device_type = device_before_;
  if (--held.guards == 0) held.cache.clear();
}

namespace detail {

AutocastState autocast_state() {
  return {device_type, thread_state.autocast_dtype, thread_state.autocast, thread_state.autocast_cache};
}
DType take_last_autocast_dtype() { return std::exchange(last_dtype, DType::f32); }

bool keeps_dtype(const Tensor& t) {
  return !t.defined() || !is_floating(t.dtype()) || t.dtype() == DType::f64 || t.impl()->wrapped_number ||
         t.device().type != device_type;
}

Tensor cast_input(const Tensor& t, DType to) {
  if (keeps_dtype(t) || t.dtype() == to) return t;
  const AutocastOff off;
  if (!cacheable(t)) return t.to(to);
  CachedCast& entry = held.cache[t.impl()];
  if (!entry.leaf.defined() || !entry.is_of(t, to)) {
    const EnableGrad guard;  // a cast first needed under NoGrad also serves later ops that record
    entry = {t, t.detach(), t.version(), t.to(to)};
  }
  return entry.cast;
}

}  // namespace detail
}  // namespace weft
