#include "core/storage.h"

#include <new>

#include "core/allocator.h"
#include "core/deferral.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/thread_state.h"

namespace weft {
namespace {
constexpr size_t kHeader = 128;  // keeps the data 64-byte aligned
static_assert(sizeof(Storage) <= kHeader);

[[gnu::noinline, gnu::cold]] void report(void (*detail::ProfileHooks::*event)(const Storage*), const Storage* s) {
  if (const auto* hooks = detail::profile_hooks.load(std::memory_order_acquire)) (hooks->*event)(s);
}

Storage* allocate_on_device(size_t bytes, Device device) {
  const detail::DeviceBackend& backend = detail::need_cuda(device, "tensor");
  void* data = backend.allocate(bytes, device.index);
  auto* s = new (detail::slab_allocate(sizeof(Storage))) Storage;
  s->data = data;
  s->bytes = bytes;
  s->device = device;
  if (detail::profiling()) [[unlikely]]
    report(&detail::ProfileHooks::allocated, s);
  return s;
}
}  // namespace

Storage* Storage::allocate(size_t bytes, Device device) {
  WEFT_CHECK(bytes <= (size_t{1} << 62), "out of memory: {} bytes asked for on {}", bytes, device);
  if (device.is_cuda()) [[unlikely]]
    return allocate_on_device(bytes, device);
  detail::Deferral* deferral = detail::thread_state.deferral;
  char* block =
      static_cast<char*>(deferral ? deferral->allocate(kHeader + bytes) : detail::cpu_allocate(kHeader + bytes));
  auto* s = new (block) Storage;
  s->data = block + kHeader;
  s->bytes = bytes;
  s->device = device;
  if (detail::profiling()) [[unlikely]]
    report(&detail::ProfileHooks::allocated, s);
  return s;
}

Storage* Storage::wrap(void* data, size_t bytes, Device device, void (*deleter)(void*), void* context) {
  auto* s = new (detail::slab_allocate(sizeof(Storage))) Storage;
  s->data = data;
  s->bytes = bytes;
  s->device = device;
  s->deleter = deleter;
  s->context = context;
  s->owned = false;
  return s;
}

void Storage::destroy(Storage* s) noexcept {
  if (s->owned) {
    if (detail::profiling()) [[unlikely]]
      report(&detail::ProfileHooks::freed, s);
    size_t bytes = kHeader + s->bytes;
    if (s->device.is_cuda()) {
      detail::cuda_backend()->free(s->data, s->bytes, s->device.index);
      s->~Storage();
      return detail::slab_free(s, sizeof(Storage));
    }
    s->~Storage();
    if (detail::Deferral* deferral = detail::thread_state.deferral) [[unlikely]]
      return deferral->release(s, bytes);
    detail::cpu_free(s, bytes);
    return;
  }
  if (s->deleter) s->deleter(s->context);
  s->~Storage();
  detail::slab_free(s, sizeof(Storage));
}

}  // namespace weft
