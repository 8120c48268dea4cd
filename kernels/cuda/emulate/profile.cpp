#include "kernels/cuda/emulate/profile.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/device_profile.h"
#include "kernels/cuda/emulate/streams.h"

namespace weft::gpu::emulate {
namespace {

constinit thread_local int hidden = 0;
thread_local std::vector<uint64_t> causes;

struct Notes {
  std::atomic<bool> on{false};
  std::mutex mutex;
  std::vector<detail::DeviceActivity> all;
  std::unordered_map<const CUstream_st*, int> streams;
};
Notes& notes() {
  static Notes* n = new Notes;
  return *n;
}

}  // namespace

bool recording() { return notes().on.load(std::memory_order_acquire); }
uint64_t current_cause() { return causes.empty() ? 0 : causes.back(); }
int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
void note(const char* op, int device, const CUstream_st* stream, int64_t start_ns, uint64_t cause) {
  Notes& n = notes();
  std::lock_guard lock(n.mutex);
  if (!n.on.load()) return;
  const int number = n.streams.try_emplace(stream, int(n.streams.size())).first->second;
  n.all.push_back({op ? op : "copy", op ? detail::DeviceWork::kernel : detail::DeviceWork::copy, device, number,
                   start_ns, now_ns(), cause});
}

Unnoted::Unnoted() { ++hidden; }
Unnoted::~Unnoted() { --hidden; }
bool unnoted() { return hidden > 0; }

}  // namespace weft::gpu::emulate

namespace weft::detail {

const DeviceProfiler* device_profiler() {
  using namespace gpu::emulate;
  static constexpr DeviceProfiler profiler{.begin =
                                               [] {
                                                 Notes& n = notes();
                                                 std::lock_guard lock(n.mutex);
                                                 n.all.clear();
                                                 n.streams.clear();
                                                 n.on = true;
                                                 return std::string("emulation");
                                               },
                                           .push = [](uint64_t cause) { causes.push_back(cause); },
                                           .pop = [] { causes.pop_back(); },
                                           .end =
                                               [] {
                                                 finish_all();
                                                 Notes& n = notes();
                                                 std::lock_guard lock(n.mutex);
                                                 n.on = false;
                                                 return std::exchange(n.all, {});
                                               }};
  return &profiler;
}

}  // namespace weft::detail
