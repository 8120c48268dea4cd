#include "core/device_backend.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/allocator.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/custom_op.h"
#include "kernels/cuda/dnn.h"
#include "kernels/cuda/fault_check.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/pinned.h"
#include "kernels/cuda/runtime.h"

namespace weft::gpu {
namespace {

constexpr int kMaxDevices = 64;

struct Streams {
  int device = 0;
  bool known = false;  ///< `device` is what the driver has for this thread
  cudaStream_t current[kMaxDevices];
};
constinit thread_local Streams streams{};

// From now on, `waits` does what comes after it only when `first` has done what it holds now.
void order(cudaStream_t first, int first_device, cudaStream_t waits, int waits_device) {
  cudaEvent_t event = nullptr;
  {
    const OnDevice on(first_device);
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "copy");
    check(cudaEventRecord(event, first), "copy");
  }
  const OnDevice on(waits_device);
  check(cudaStreamWaitEvent(waits, event, 0), "copy");
  check(cudaEventDestroy(event), "copy");
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes, bool wait) {
  if (bytes == 0) return;
  const OnDevice on(to_device.is_cuda() ? to_device.index : from_device.index);
  const cudaStream_t stream = current_stream();
  if (to_device.is_cuda() && from_device.is_cuda() && to_device.index != from_device.index) {
    // What the other device's stream still computes must be there first, and stay there until it is read.
    const cudaStream_t other = current_stream(from_device.index);
    order(other, from_device.index, stream, to_device.index);
    check(cudaMemcpyPeerAsync(to, to_device.index, from, from_device.index, bytes, stream), "copy");
    order(stream, to_device.index, other, from_device.index);
  } else {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "copy");
    if (!wait && to_device.is_cpu()) use_pinned(to, stream);
    if (!wait && from_device.is_cpu()) use_pinned(from, stream);
  }
  if (wait) {
    check(cudaStreamSynchronize(stream), "copy");
    check_faults();
  }
}

void properties(int device, cuda::DeviceProperties& out) {
  auto fact = [&](cudaDeviceAttr which) {
    int v = 0;
    check(cudaDeviceGetAttribute(&v, which, device), "device_properties");
    return v;
  };
  out.major = fact(cudaDevAttrComputeCapabilityMajor);
  out.minor = fact(cudaDevAttrComputeCapabilityMinor);
  out.multiprocessors = fact(cudaDevAttrMultiProcessorCount);
  out.l2_cache = fact(cudaDevAttrL2CacheSize);
  const OnDevice on(device);
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "device_properties");
  out.total_memory = static_cast<int64_t>(total);
#ifdef WEFT_CUDA_EMULATE
  out.name = "host emulation";
#else
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "device_properties");
  out.name = p.name;
#endif
}

cudaStream_t stream_of(void* p) { return static_cast<cudaStream_t>(p); }
cudaEvent_t event_of(void* p) { return static_cast<cudaEvent_t>(p); }

// Streams are used again and never destroyed: allocators keep memory by stream.
struct SpareStreams {
  std::mutex mutex;
  std::vector<cudaStream_t> streams[kMaxDevices][2];  // of low and of high priority
  std::unordered_map<cudaStream_t, bool> high;
};
SpareStreams& spare_streams() {
  static SpareStreams* s = new SpareStreams;
  return *s;
}
void* stream_create(int device, bool high_priority) {
  const OnDevice on(device);
  SpareStreams& spare = spare_streams();
  std::lock_guard lock(spare.mutex);
  auto& free = spare.streams[device][high_priority];
  if (!free.empty()) {
    const cudaStream_t s = free.back();
    free.pop_back();
    return s;
  }
  int least = 0, greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "Stream");
  cudaStream_t s = nullptr;
  check(cudaStreamCreateWithPriority(&s, cudaStreamNonBlocking, high_priority ? greatest : least), "Stream");
  spare.high[s] = high_priority;
  return s;
}
void stream_destroy(void* stream, int device) noexcept {
  SpareStreams& spare = spare_streams();
  std::lock_guard lock(spare.mutex);
  const cudaStream_t s = stream_of(stream);
  spare.streams[device][spare.high[s]].push_back(s);
}
bool ready(cudaError_t status, const char* what) {
  if (status == cudaErrorNotReady) return false;
  check(status, what);
  return true;
}

const detail::DeviceBackend make_table(int devices) {
  detail::DeviceBackend b{};
  b.devices = devices;
#ifdef WEFT_CUDA_EMULATE
  b.emulated = true;
#endif
  b.properties = properties;
  b.current_device = current_device;
  b.set_device = set_current_device;
  b.synchronize = [](int device) {
    const OnDevice on(device);
    check(cudaDeviceSynchronize(), "synchronize");
    check_faults();
  };
  b.begin = [](const char* op) {
    check_faults();
    name_blocks(op);
  };
  b.launches = [] { return launches; };
  b.allocate = allocate;
  b.free = release;
  b.allocate_pinned = allocate_pinned;
  b.free_pinned = [](void* p, size_t) noexcept { release_pinned(p); };
  b.is_pinned = is_pinned;
  b.memory_stats = allocator_stats;
  b.reset_peak = reset_peak;
  b.empty_cache = [] {
    empty_cache();
    empty_pinned();
  };
  b.record_stream = [](void* p, void* stream) { record_stream(p, stream_of(stream)); };
  b.copy = copy;
  b.stream_create = stream_create;
  b.stream_destroy = stream_destroy;
  b.stream_current = [](int device) -> void* { return current_stream(device); };
  b.stream_set = [](void* s, int device) { set_current_stream(stream_of(s), device); };
  b.stream_synchronize = [](void* s, int device) {
    const OnDevice on(device);
    check(cudaStreamSynchronize(stream_of(s)), "synchronize");
    check_faults();
  };
  b.stream_query = [](void* s, int device) {
    const OnDevice on(device);
    return ready(cudaStreamQuery(stream_of(s)), "query");
  };
  b.event_create = [](int device, bool timing) -> void* {
    const OnDevice on(device);
    cudaEvent_t e = nullptr;
    check(cudaEventCreateWithFlags(&e, timing ? 0 : cudaEventDisableTiming), "Event");
    return e;
  };
  b.event_destroy = [](void* e) noexcept { cudaEventDestroy(event_of(e)); };
  b.event_record = [](void* e, void* s, int device) {
    const OnDevice on(device);
    check(cudaEventRecord(event_of(e), stream_of(s)), "Event");
  };
  b.event_wait = [](void* e, void* s, int device) {
    const OnDevice on(device);
    check(cudaStreamWaitEvent(stream_of(s), event_of(e), 0), "Event");
  };
  b.event_synchronize = [](void* e) {
    check(cudaEventSynchronize(event_of(e)), "Event");
    check_faults();
  };
  b.event_query = [](void* e) { return ready(cudaEventQuery(event_of(e)), "Event"); };
  b.event_elapsed = [](void* from, void* to) {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, event_of(from), event_of(to)), "Event");
    return static_cast<double>(ms);
  };
  b.custom = run_custom;
  b.libraries = [] { return blas_library() + "\n" + dnn::dnn_library(); };
  return b;
}

}  // namespace

[[noreturn]] void fail_status(cudaError_t status, const char* what) {
  cudaGetLastError();
  const char* op = detail::running_op ? detail::running_op : what;
  detail::fail_with(detail::Fault::user,
                    "{}: the device reports: {}; a failure of an earlier op may show up here, "
                    "set WEFT_CUDA_BLOCKING=1 to learn which",
                    op, cudaGetErrorString(status));
}

int current_device() {
  if (!streams.known) [[unlikely]] {
    check(cudaGetDevice(&streams.device), "current device");
    streams.known = true;
  }
  return streams.device;
}
void set_current_device(int device) {
  check(cudaSetDevice(device), "set_device");
  streams.device = device;
  streams.known = true;
}
OnDevice::~OnDevice() {
  if (streams.device == before_) return;
  cudaSetDevice(before_);  // it was current before
  streams.device = before_;
}

cudaStream_t current_stream() { return streams.current[current_device()]; }
cudaStream_t current_stream(int device) { return streams.current[device]; }
void set_current_stream(cudaStream_t stream, int device) { streams.current[device] = stream; }

const DeviceFacts& device_facts() {
  static DeviceFacts facts[kMaxDevices];
  static std::once_flag once[kMaxDevices];
  const int device = current_device();
  std::call_once(once[device], [&] {
    auto fact = [&](cudaDeviceAttr which) {
      int v = 0;
      check(cudaDeviceGetAttribute(&v, which, device), "device facts");
      return v;
    };
    facts[device] = {fact(cudaDevAttrMultiProcessorCount), fact(cudaDevAttrComputeCapabilityMajor),
                     fact(cudaDevAttrComputeCapabilityMinor),
                     static_cast<size_t>(fact(cudaDevAttrMaxSharedMemoryPerBlockOptin))};
  });
  return facts[device];
}

constinit thread_local uint64_t launches = 0;

bool blocking() {
  static const bool on = [] {
    const char* v = std::getenv("WEFT_CUDA_BLOCKING");
    return v && *v && std::strcmp(v, "0") != 0;
  }();
  return on;
}

void after_launch(cudaStream_t stream) {
  if (!blocking()) [[likely]]
    return;
  check(cudaStreamSynchronize(stream), "launch");
  check_faults();
}

}  // namespace weft::gpu

namespace weft::detail {

const DeviceBackend* load_cuda_backend(std::string& why) {
  constexpr int kOldest = 12040;
  int driver = 0, devices = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    why = "there is no NVIDIA driver on this machine";
    return nullptr;
  }
  auto version = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
  if (driver < kOldest) {
    why = "the NVIDIA driver supports CUDA " + version(driver) + "; weft needs 12.4 or later";
    return nullptr;
  }
  if (cudaError_t status = cudaGetDeviceCount(&devices); status != cudaSuccess || devices == 0) {
    why = std::string("no usable CUDA device: ") + cudaGetErrorString(status);
    cudaGetLastError();
    return nullptr;
  }
  static const DeviceBackend table = gpu::make_table(devices);
  gpu::install_kernels();
  return &table;
}

}  // namespace weft::detail
