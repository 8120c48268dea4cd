#include "core/device_profile.h"

#include <cxxabi.h>
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/device_backend.h"
#include "kernels/cuda/runtime.h"
#if __has_include(<cupti.h>)
#include <cupti.h>
#define WEFT_HAS_CUPTI 1
#endif

// Times of devices for a profiler: of single kernels where CUPTI is, else of whole ops, between two events.
namespace weft::gpu {
namespace {

using detail::DeviceActivity;
using detail::DeviceWork;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
void finish_devices() {
  for (int d = 0; d < detail::cuda_backend()->devices; ++d) {
    const OnDevice on(d);
    check(cudaDeviceSynchronize(), "profiler");
  }
}

// ---- whole ops

struct Span {
  const char* op;
  uint64_t cause;
  int device;
  cudaStream_t stream;
  cudaEvent_t begin, end;
};
struct Base {
  cudaEvent_t event;
  int64_t ns;
};
struct Spans {
  std::mutex mutex;
  bool on = false;
  std::vector<Span> all;
  std::unordered_map<int, Base> bases;  // a moment of each device that the host knows too
};
Spans& spans() {
  static Spans* s = new Spans;
  return *s;
}
thread_local std::vector<Span> open_spans;

cudaEvent_t record_event() {
  cudaEvent_t e = nullptr;
  check(cudaEventCreateWithFlags(&e, cudaEventDefault), "profiler");
  check(cudaEventRecord(e, current_stream()), "profiler");
  return e;
}

void push_span(uint64_t cause) {
  const int device = current_device();
  Spans& s = spans();
  {
    std::lock_guard lock(s.mutex);
    if (!s.bases.contains(device)) {
      check(cudaDeviceSynchronize(), "profiler");
      const cudaEvent_t e = record_event();
      check(cudaEventSynchronize(e), "profiler");
      s.bases[device] = {e, now_ns()};
    }
  }
  open_spans.push_back({detail::running_op, cause, device, current_stream(), record_event(), nullptr});
}
void pop_span() {
  Span span = open_spans.back();
  open_spans.pop_back();
  cudaEventCreateWithFlags(&span.end, cudaEventDefault);
  cudaEventRecord(span.end, span.stream);
  Spans& s = spans();
  std::lock_guard lock(s.mutex);
  if (s.on) s.all.push_back(span);
}

std::vector<DeviceActivity> end_spans() {
  finish_devices();
  Spans& s = spans();
  std::lock_guard lock(s.mutex);
  s.on = false;
  std::vector<DeviceActivity> out;
  std::unordered_map<cudaStream_t, int> streams;
  for (const Span& span : s.all) {
    const Base& base = s.bases[span.device];
    float begin = 0, end = 0;
    check(cudaEventElapsedTime(&begin, base.event, span.begin), "profiler");
    check(cudaEventElapsedTime(&end, base.event, span.end), "profiler");
    const int stream = streams.try_emplace(span.stream, int(streams.size())).first->second;
    out.push_back({span.op ? span.op : "op", DeviceWork::op, span.device, stream,
                   base.ns + int64_t(double(begin) * 1e6), base.ns + int64_t(double(end) * 1e6), span.cause});
    cudaEventDestroy(span.begin);
    cudaEventDestroy(span.end);
  }
  s.all.clear();
  for (const auto& [device, base] : s.bases) cudaEventDestroy(base.event);
  s.bases.clear();
  return out;
}

// ---- single kernels

#ifdef WEFT_HAS_CUPTI
struct Cupti {
  decltype(&cuptiActivityRegisterCallbacks) callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next = nullptr;
  decltype(&cuptiActivityPushExternalCorrelationId) push = nullptr;
  decltype(&cuptiActivityPopExternalCorrelationId) pop = nullptr;
  decltype(&cuptiGetTimestamp) timestamp = nullptr;
  bool complete = false;

  Cupti() {
    // Records have the layout of the toolkit that weft was built with.
    const std::string name = "libcupti.so." + std::to_string(CUDART_VERSION / 1000);
    std::vector<std::string> folders = {""};
    for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
      if (const char* home = std::getenv(variable))
        for (const char* lib : {"/lib64/", "/extras/CUPTI/lib64/"}) folders.push_back(std::string(home) + lib);
    folders.insert(folders.end(), {"/usr/local/cuda/lib64/", "/usr/local/cuda/extras/CUPTI/lib64/"});
    void* library = nullptr;
    for (const std::string& folder : folders)
      if ((library = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL))) break;
    if (!library) return;
    const auto get = [&](auto& to, const char* symbol) {
      to = reinterpret_cast<std::decay_t<decltype(to)>>(dlsym(library, symbol));
      return to != nullptr;
    };
    complete = get(callbacks, "cuptiActivityRegisterCallbacks") && get(enable, "cuptiActivityEnable") &&
               get(disable, "cuptiActivityDisable") && get(flush, "cuptiActivityFlushAll") &&
               get(next, "cuptiActivityGetNextRecord") && get(push, "cuptiActivityPushExternalCorrelationId") &&
               get(pop, "cuptiActivityPopExternalCorrelationId") && get(timestamp, "cuptiGetTimestamp");
  }
};
const Cupti& cupti() {
  static const Cupti* c = new Cupti;  // never closed: it works at exit too
  return *c;
}

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION,
                                         CUPTI_ACTIVITY_KIND_RUNTIME,
                                         CUPTI_ACTIVITY_KIND_DRIVER,
                                         CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET,
                                         CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL};

struct Activities {
  std::mutex mutex;
  std::vector<std::pair<DeviceActivity, uint32_t>> all;  // and the correlation number
  std::unordered_map<uint32_t, uint64_t> causes;         // by correlation number
  int64_t offset = 0;                                    // from CUPTI's clock to the host's
};
Activities& activities() {
  static Activities* a = new Activities;
  return *a;
}

std::string plain_name(const char* name) {
  int status = 0;
  char* plain = name ? abi::__cxa_demangle(name, nullptr, nullptr, &status) : nullptr;
  std::string out = plain ? plain : name ? name : "kernel";
  std::free(plain);
  return out;
}

// Later versions of these structs have more at their ends.
void take_record(Activities& a, const CUpti_Activity* record) {
  const auto add = [&](const auto* r, std::string name, DeviceWork kind) {
    a.all.push_back({{std::move(name), kind, int(r->deviceId), int(r->streamId), int64_t(r->start) + a.offset,
                      int64_t(r->end) + a.offset, 0},
                     r->correlationId});
  };
  switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_KERNEL:
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const auto* r = reinterpret_cast<const CUpti_ActivityKernel9*>(record);
      return add(r, plain_name(r->name), DeviceWork::kernel);
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY: {
      const auto* r = reinterpret_cast<const CUpti_ActivityMemcpy5*>(record);
      const bool up = r->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD,
                 down = r->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOH;
      return add(r, up ? "copy to device" : down ? "copy to host" : "copy on device", DeviceWork::copy);
    }
    case CUPTI_ACTIVITY_KIND_MEMSET:
      return add(reinterpret_cast<const CUpti_ActivityMemset4*>(record), "fill", DeviceWork::fill);
    case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
      const auto* r = reinterpret_cast<const CUpti_ActivityExternalCorrelation*>(record);
      a.causes[r->correlationId] = r->externalId;
      return;
    }
    default:
      return;
  }
}

constexpr size_t kBuffer = size_t{4} << 20;
void CUPTIAPI want_buffer(uint8_t** buffer, size_t* size, size_t* most) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBuffer));
  *size = *buffer ? kBuffer : 0;
  *most = 0;
}
void CUPTIAPI full_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  Activities& a = activities();
  {
    std::lock_guard lock(a.mutex);
    for (CUpti_Activity* record = nullptr; cupti().next(buffer, valid, &record) == CUPTI_SUCCESS;)
      take_record(a, record);
  }
  std::free(buffer);
}

// False: the library is missing, or refuses (another profiler holds it).
bool begin_activities() {
  const Cupti& c = cupti();
  if (!c.complete || c.callbacks(want_buffer, full_buffer) != CUPTI_SUCCESS) return false;
  Activities& a = activities();
  {
    std::lock_guard lock(a.mutex);
    a.all.clear();
    a.causes.clear();
    uint64_t now = 0;
    if (c.timestamp(&now) != CUPTI_SUCCESS) return false;
    a.offset = now_ns() - int64_t(now);
  }
  for (const CUpti_ActivityKind kind : kKinds) {
    if (c.enable(kind) == CUPTI_SUCCESS) continue;
    for (const CUpti_ActivityKind k : kKinds) c.disable(k);
    return false;
  }
  return true;
}

std::vector<DeviceActivity> end_activities() {
  finish_devices();
  const Cupti& c = cupti();
  c.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  for (const CUpti_ActivityKind kind : kKinds) c.disable(kind);
  Activities& a = activities();
  std::lock_guard lock(a.mutex);
  std::vector<DeviceActivity> out;
  for (auto& [activity, correlation] : a.all) {
    if (const auto it = a.causes.find(correlation); it != a.causes.end()) activity.cause = it->second;
    out.push_back(std::move(activity));
  }
  a.all.clear();
  a.causes.clear();
  return out;
}
void push_activity(uint64_t cause) { cupti().push(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, cause); }
void pop_activity() {
  uint64_t last = 0;
  cupti().pop(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, &last);
}
#else
bool begin_activities() { return false; }
std::vector<DeviceActivity> end_activities() { return {}; }
void push_activity(uint64_t) {}
void pop_activity() {}
#endif

std::atomic<bool> by_cupti{false};  // what the recording that runs is made of

std::string begin() {
  by_cupti = begin_activities();
  if (by_cupti) return "CUPTI";
  Spans& s = spans();
  std::lock_guard lock(s.mutex);
  s.on = true;
  return "events around ops, libcupti was not found or not free";
}

}  // namespace
}  // namespace weft::gpu

namespace weft::detail {

const DeviceProfiler* device_profiler() {
  static constexpr DeviceProfiler profiler{
      .begin = gpu::begin,
      .push = [](uint64_t cause) { gpu::by_cupti ? gpu::push_activity(cause) : gpu::push_span(cause); },
      .pop = [] { gpu::open_spans.empty() ? gpu::pop_activity() : gpu::pop_span(); },
      .end = [] { return gpu::by_cupti ? gpu::end_activities() : gpu::end_spans(); }};
  return &profiler;
}

}  // namespace weft::detail
