#include "kernels/cuda/fault.h"

#include <cstring>
#include <mutex>
#include <thread>

#include "kernels/cuda/fault_check.h"
#include "kernels/cuda/runtime.h"

namespace weft::gpu {
namespace {

struct Site {
  detail::Fault kind;
  const char *text, *who;
  long long a, b;
  std::thread::id thread;
};
// Launches that are still on their way: far more than a device holds.
constexpr int kSites = 1 << 16;

struct Faults {
  std::mutex mutex;
  volatile FaultWord* word;
  FaultWord* on_device;
  Site sites[kSites];
  int next = 0;

  Faults() {
    void *host = nullptr, *device = nullptr;
    check(cudaHostAlloc(&host, sizeof(FaultWord), cudaHostAllocMapped), "fault word");
    check(cudaHostGetDevicePointer(&device, host, 0), "fault word");
    std::memset(host, 0, sizeof(FaultWord));
    word = static_cast<volatile FaultWord*>(host);
    on_device = static_cast<FaultWord*>(device);
  }
};
Faults& faults() {
  static Faults* f = new Faults;
  return *f;
}

}  // namespace

FaultSite fault_site(detail::Fault kind, const char* text, const char* who, long long a, long long b) {
  Faults& f = faults();
  std::lock_guard lock(f.mutex);
  const int at = f.next;
  f.next = (f.next + 1) % kSites;
  f.sites[at] = {kind, text, who, a, b, std::this_thread::get_id()};
  return {f.on_device, at + 1};
}

void check_faults() {
  Faults& f = faults();
  if (f.word->site == 0) [[likely]]
    return;
  Site site;
  long long value;
  bool real;
  {
    std::lock_guard lock(f.mutex);
    if (f.word->site == 0) return;
    site = f.sites[f.word->site - 1];
    if (blocking() && site.thread != std::this_thread::get_id()) return;
    cudaDeviceSynchronize();  // the value arrives after the site
    value = f.word->value;
    real = f.word->real != 0;
    f.word->site = 0;
  }
  if (real)
    detail::fail_with(site.kind, site.text, site.who, math::double_of_bits(static_cast<math::u64>(value)), site.a,
                      site.b);
  detail::fail_with(site.kind, site.text, site.who, value, site.a, site.b);
}

}  // namespace weft::gpu
