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
  if (deferral)
    if (Storage* part = deferral->part(bytes)) {
      if (detail::profiling()) [[unlikely]]
        report(&detail::ProfileHooks::allocated, part);
      return part;
    }
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
    const auto deleter = s->deleter;  // of a part
    void* const context = s->context;
    s->~Storage();
    detail::Deferral* const deferral = detail::thread_state.deferral;
    if (deleter) [[unlikely]] {
      if (deferral) deferral->release(s, 0);
      deleter(context);
      return detail::slab_free(s, sizeof(Storage));
    }
    if (deferral) [[unlikely]]
      return deferral->release(s, bytes);
    detail::cpu_free(s, bytes);
    return;
  }
  if (s->deleter) s->deleter(s->context);
  s->~Storage();
  detail::slab_free(s, sizeof(Storage));
}

StorageBlock::StorageBlock(size_t bytes) : data_(static_cast<char*>(detail::cpu_allocate(bytes))), bytes_(bytes) {}
StorageBlock::~StorageBlock() { detail::cpu_free(data_, bytes_); }
std::shared_ptr<StorageBlock> StorageBlock::allocate(size_t bytes) { return std::make_shared<StorageBlock>(bytes); }

Storage* StorageBlock::part(const std::shared_ptr<StorageBlock>& block, size_t offset, size_t bytes) {
  using Holder = std::shared_ptr<StorageBlock>;
  auto holder = std::make_unique<Holder>(block);
  auto* s = new (detail::slab_allocate(sizeof(Storage))) Storage;
  s->data = block->data_ + offset;
  s->bytes = bytes;
  s->deleter = [](void* context) { delete static_cast<Holder*>(context); };
  s->context = holder.release();
  return s;
}

}  // namespace weft
