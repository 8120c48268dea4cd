#include "core/cuda.h"

#include <atomic>

#include "core/device_backend.h"
#include "core/error.h"

namespace weft::cuda {
namespace {

const detail::DeviceBackend& backend(const char* what) { return detail::need_cuda(Device(DeviceType::cuda, 0), what); }
int device_or_current(const detail::DeviceBackend& b, int device, const char* what) {
  if (device < 0) return b.current_device();
  WEFT_CHECK(device < b.devices, "{}: device {} of {}", what, device, b.devices);
  return device;
}

}  // namespace

bool is_available() { return detail::cuda_backend() != nullptr; }
const std::string& why_unavailable() { return detail::cuda_missing(); }
int device_count() { return is_available() ? detail::cuda_backend()->devices : 0; }

DeviceProperties device_properties(int device) {
  const auto& b = backend("device_properties");
  DeviceProperties p;
  b.properties(device_or_current(b, device, "device_properties"), p);
  p.emulated = b.emulated;
  return p;
}

std::string libraries() { return backend("libraries").libraries(); }

int current_device() { return is_available() ? detail::cuda_backend()->current_device() : 0; }
void set_device(int device) {
  const auto& b = backend("set_device");
  WEFT_CHECK(device >= 0 && device < b.devices, "set_device: there is no device {}; this machine has {}", device,
             b.devices);
  b.set_device(device);
}
void synchronize(int device) {
  const auto& b = backend("synchronize");
  b.synchronize(device_or_current(b, device, "synchronize"));
}

// ---- streams

Stream Stream::create(int device, bool high_priority) {
  const auto& b = backend("Stream");
  Stream s;
  const int index = s.device_ = device_or_current(b, device, "Stream");
  s.owner_ = std::shared_ptr<void>(b.stream_create(index, high_priority),
                                   [&b, index](void* stream) { b.stream_destroy(stream, index); });
  return s;
}
namespace {
thread_local std::shared_ptr<void> current_owner;  // keeps the stream that a StreamGuard made current
}
Stream Stream::current(int device) {
  const auto& b = backend("Stream");
  Stream s;
  s.device_ = device_or_current(b, device, "Stream");
  void* handle = b.stream_current(s.device_);
  s.owner_ =
      current_owner && current_owner.get() == handle ? current_owner : std::shared_ptr<void>(handle, [](void*) {});
  return s;
}
void* Stream::handle() const { return owner_.get(); }
void Stream::synchronize() const { backend("Stream").stream_synchronize(handle(), device_); }
bool Stream::query() const { return backend("Stream").stream_query(handle(), device_); }
void Stream::wait(const Stream& other) const {
  Event e(false);
  e.record(other);
  e.wait(*this);
}

StreamGuard::StreamGuard(const Stream& stream)
    : stream_(stream), before_(Stream::current(stream.device())), device_before_(cuda::current_device()) {
  const auto& b = backend("StreamGuard");
  b.set_device(stream.device());
  b.stream_set(stream.handle(), stream.device());
  current_owner = stream.owner_;
}
StreamGuard::~StreamGuard() {
  const auto& b = *detail::cuda_backend();
  b.stream_set(before_.handle(), before_.device());
  b.set_device(device_before_);
  current_owner = before_.owner_;
}

DeviceGuard::DeviceGuard(int device) : before_(cuda::current_device()) { set_device(device); }
DeviceGuard::~DeviceGuard() { detail::cuda_backend()->set_device(before_); }

Event::Event(bool timing) {
  const auto& b = backend("Event");
  owner_ = std::shared_ptr<void>(b.event_create(b.current_device(), timing), [&b](void* e) { b.event_destroy(e); });
}
void Event::record(const Stream& s) { backend("Event").event_record(owner_.get(), s.handle(), s.device()); }
void Event::wait(const Stream& s) const { backend("Event").event_wait(owner_.get(), s.handle(), s.device()); }
void Event::synchronize() const { backend("Event").event_synchronize(owner_.get()); }
bool Event::query() const { return backend("Event").event_query(owner_.get()); }
double Event::elapsed_ms(const Event& end) const {
  return backend("Event").event_elapsed(owner_.get(), end.owner_.get());
}

// ---- memory

MemoryStats memory_stats(int device) {
  const auto& b = backend("memory_stats");
  MemoryStats s;
  b.memory_stats(device_or_current(b, device, "memory_stats"), s);
  return s;
}
void reset_peak_memory_stats(int device) {
  const auto& b = backend("reset_peak_memory_stats");
  b.reset_peak(device_or_current(b, device, "reset_peak_memory_stats"));
}
void empty_cache() {
  if (is_available()) detail::cuda_backend()->empty_cache();
}
void record_stream(const Tensor& t, const Stream& stream) {
  WEFT_CHECK(t.defined() && t.device().is_cuda(), "record_stream: needs a tensor on a device, got {}", t);
  detail::cuda_backend()->record_stream(t.impl()->storage->data, stream.handle());
}

// ---- matrix products

namespace {
std::atomic<bool> tf32{false};
}
void set_allow_tf32(bool allow) { tf32.store(allow, std::memory_order_relaxed); }
bool allow_tf32() { return tf32.load(std::memory_order_relaxed); }

}  // namespace weft::cuda
