// The profiler's half on devices: times of kernels, tied to the ops that launched them, and memory.
#include "profiler/profiler.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "autograd/autograd.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "tests/cuda/need_device.h"

namespace weft {
namespace {

using profiler::Average;
using profiler::DeviceEvent;
using profiler::Event;
using profiler::Profiler;

// The name of the op that launched it.
std::string launcher(const Profiler& p, const DeviceEvent& d) {
  return d.event < 0 ? "" : p.events()[static_cast<size_t>(d.event)].name;
}

TEST_CASE("profiler: the work of a device has times, streams and the op that launched it") {
  NEED_DEVICES(1);
  Tensor a = randn({64, 64}, {.dtype = DType::f32, .device = "cuda"}).set_requires_grad(true), b = a.detach().exp();
  const cuda::Stream side = cuda::Stream::create();
  cuda::synchronize();
  Profiler p({.record_shapes = true, .profile_memory = true, .cuda = true});
  p.start();
  {
    profiler::record_function range("step");
    mm(a, b).sum().backward();
  }
  {
    const cuda::StreamGuard on(side);
    Tensor c = b.exp();
  }
  p.stop();
  CHECK(!p.device_times().empty());
  REQUIRE(!p.device_events().empty());
  int64_t last = 0;
  for (const DeviceEvent& d : p.device_events()) {
    CHECK(d.start_ns >= last);
    CHECK(d.duration_ns >= 0);
    CHECK(d.device == 0);
    last = d.start_ns;
  }
  const auto by = [&](const char* op) {
    return std::find_if(p.device_events().begin(), p.device_events().end(),
                        [&](const DeviceEvent& d) { return launcher(p, d) == op; });
  };
  REQUIRE(by("mm") != p.device_events().end());
  REQUIRE(by("exp") != p.device_events().end());
  CHECK(by("mm")->stream != by("exp")->stream);
  // Times of what runs inside are part of what is around, and of no other.
  int64_t all = 0, self = 0, step = 0, inside = 0;
  for (const DeviceEvent& d : p.device_events()) {
    all += d.duration_ns;
    if (d.event < 0) self += d.duration_ns;
  }
  for (const Event& e : p.events()) {
    self += e.self_cuda_ns;
    CHECK(e.cuda_ns >= e.self_cuda_ns);
    if (e.name == "step") step = e.cuda_ns;
    if (e.name == "mm") {
      CHECK(e.self_cuda_memory == 64 * 64 * 4);
      CHECK(e.memory == 0);
    }
    int64_t top = e.parent;
    while (top >= 0 && p.events()[static_cast<size_t>(top)].name != "step")
      top = p.events()[static_cast<size_t>(top)].parent;
    if (top >= 0) inside += e.self_cuda_ns;
  }
  CHECK(self == all);
  CHECK(step > 0);
  CHECK(step == inside);

  const profiler::KeyAverages averages = p.key_averages();
  const std::string table = averages.table({.sort_by = "cuda_time_total"});
  for (const char* part : {"Self CUDA %", "CUDA total", "CUDA time avg", "Self CUDA Mem", "Self CUDA time total"})
    CHECK(gpu::has(table, part));
  CHECK(gpu::has(table, p.device_times().c_str()));
  const std::vector<Average> rows = averages.sorted("self_cuda_time_total");
  CHECK(rows.front().self_cuda_time_total_ns >= rows.back().self_cuda_time_total_ns);
  CHECK(gpu::has(p.html(), "self on devices"));

  const nlohmann::json trace = nlohmann::json::parse(p.chrome_trace());
  size_t drawn = 0, arrows = 0;
  for (const auto& e : trace["traceEvents"]) {
    const std::string category = e.value("cat", "");
    drawn += e["ph"] == "X" && (category == "kernel" || category.starts_with("gpu_"));
    arrows += category == "ac2g" && e["ph"] == "f";
  }
  CHECK(drawn == p.device_events().size());
  CHECK(arrows > 0);
}

TEST_CASE("profiler: without .cuda nothing of devices is noted, and a second recording starts empty") {
  NEED_DEVICES(1);
  const Tensor a = randn({8}, {.dtype = DType::f32, .device = "cuda"});
  Profiler without({.profile_memory = true});
  without.start();
  Tensor y = a.exp();
  without.stop();
  CHECK(without.device_events().empty());
  CHECK(!gpu::has(without.key_averages().table(), "CUDA"));
  for (int i = 0; i < 2; ++i) {
    Profiler p({.cuda = true});
    p.start();
    y = a.exp();
    p.stop();
    size_t launched = 0;
    for (const DeviceEvent& d : p.device_events()) launched += launcher(p, d) == "exp";
    CHECK(launched == 1);
  }
}

}  // namespace
}  // namespace weft
