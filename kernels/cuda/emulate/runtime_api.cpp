#include "kernels/cuda/emulate/runtime_api.h"

#include <cstring>
#include <memory>
#include <utility>

#include "kernels/cuda/emulate/memory.h"
#include "kernels/cuda/emulate/streams.h"

namespace em = weft::gpu::emulate;

struct CUevent_st {
  int device;
  bool timing;
  std::shared_ptr<em::Point> point;  // of the last record
};

const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    default:
      return "invalid argument";
  }
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = em::settings().devices;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = em::current_device();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= em::settings().devices) return cudaErrorInvalidDevice;
  em::current_device() = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= em::settings().devices) return cudaErrorInvalidDevice;
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 163 << 10;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    default:
      *value = 0;
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  em::finish_device(em::current_device());
  em::report_errors();
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = em::settings().memory;
  const size_t used = em::used_memory(em::current_device());
  *free = *total > used ? *total - used : 0;
  return cudaSuccess;
}

// ---- memory

cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = em::take_memory(bytes, em::Kind::device, em::current_device());
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* p) {
  if (!p) return cudaSuccess;
  em::finish_all();
  return em::give_memory(p, em::Kind::device) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  *p = em::take_memory(bytes, em::Kind::pinned, 0);
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* p) {
  em::finish_all();
  return em::give_memory(p, em::Kind::pinned) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  const em::Allocation a = em::find_memory(p);
  attributes->type = a.bytes == 0                 ? cudaMemoryTypeUnregistered
                     : a.kind == em::Kind::pinned ? cudaMemoryTypeHost
                                                  : cudaMemoryTypeDevice;
  attributes->device = a.device;
  return cudaSuccess;
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}

namespace {
enum class Place { device, pinned, pageable, outside };
Place place_of(const void* p, size_t bytes) {
  const em::Allocation a = em::find_memory(p);
  if (a.bytes == 0) return Place::pageable;
  if (static_cast<const char*>(p) + bytes > a.data + a.bytes) return Place::outside;
  return a.kind == em::Kind::pinned ? Place::pinned : Place::device;
}
}  // namespace

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  em::report_errors();
  const Place target = place_of(to, bytes), source = place_of(from, bytes);
  if (target == Place::outside || source == Place::outside) return cudaErrorInvalidValue;
  const bool to_device = target == Place::device, from_device = source == Place::device;
  if (kind != cudaMemcpyDefault &&
      (to_device != (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) ||
       from_device != (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice)))
    return cudaErrorInvalidValue;
  if (source == Place::pageable && to_device) {  // read before the call returns
    std::shared_ptr<char[]> staged(new char[bytes]);
    std::memcpy(staged.get(), from, bytes);
    em::put(stream, [=] { std::memcpy(to, staged.get(), bytes); });
    return cudaSuccess;
  }
  em::put(stream, [=] { std::memmove(to, from, bytes); });
  if (target == Place::pageable || source == Place::pageable) {
    em::finish(stream);
    em::report_errors();
  }
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (place_of(to, bytes) != Place::device) return cudaErrorInvalidValue;
  em::put(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream) {
  if (em::find_memory(to).device != to_device || em::find_memory(from).device != from_device)
    return cudaErrorInvalidValue;
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

// ---- streams and events

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  *stream = em::make_stream(em::current_device(), flags != cudaStreamNonBlocking);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (!stream) return cudaErrorInvalidResourceHandle;
  em::drop_stream(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  em::finish(stream);
  em::report_errors();
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return em::is_finished(stream) ? cudaSuccess : cudaErrorNotReady; }
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->point) em::put_wait(stream, event->point);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{em::current_device(), !(flags & cudaEventDisableTiming), nullptr};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (em::device_of_stream(stream) != event->device) return cudaErrorInvalidResourceHandle;
  event->point = em::put_point(stream);
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->point) em::finish_point(*event->point);
  em::report_errors();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return !event->point || em::is_finished(*event->point) ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  if (!from->point || !to->point || !from->timing || !to->timing) return cudaErrorInvalidResourceHandle;
  if (!em::is_finished(*from->point) || !em::is_finished(*to->point)) return cudaErrorNotReady;
  *ms = static_cast<float>(em::milliseconds(*from->point, *to->point));
  return cudaSuccess;
}
