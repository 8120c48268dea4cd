#include <cmath>
#include <cstdio>

#include "core/allocator.h"
#include "core/deferral.h"
#include "core/thread_state.h"
#include "tools/weft/bench.h"
#include "tools/weft/json_file.h"
#include "weft.h"

namespace weft::bench {
namespace {

// Takes kernels and forgets them: what is left is what every op costs besides.
class Forgetting final : public detail::Deferral {
 public:
  void put_off(const OpCall&, size_t) override {}
  void put_off(const detail::PointwiseCall&) override {}
  void settle(Storage*, bool) override {}
  void* allocate(size_t bytes) override { return detail::cpu_allocate(bytes); }
  void release(void* block, size_t bytes) noexcept override { detail::cpu_free(block, bytes); }
  Storage* part(size_t) override { return nullptr; }
};

}  // namespace

int run_matching(const MatchingOptions& o) {
  const Tensor a = randn({4, 4}), b = randn({4, 4});
  NoGrad guard;
  const auto f = [&] {
    for (int i = 0; i < o.ops; ++i) const Tensor unused = a.add(b);  // nobody holds it: its kernel never runs
  };
  Forgetting forgetting;
  const double without = best_us([&] {
    detail::thread_state.deferral = &forgetting;
    f();
    detail::thread_state.deferral = nullptr;
  });
  const double eager = best_us(f);
  // Such a function gains nothing by waiting; only with errors for cuts does it wait for ever.
  auto fast = compile(f, {.on_fallback = OnFallback::error, .recordings = 1});
  const double compiled = best_us([&] { fast(); });
  const auto ns = [&](double us) { return std::round(us * 1e4 / o.ops) / 10; };
  const nlohmann::json j = {{"ops", o.ops},
                            {"dispatch_ns", ns(without)},
                            {"matching_ns", ns(compiled - without)},
                            {"eager_ns", ns(eager)},
                            {"compiled_ns", ns(compiled)}};
  std::printf("%s\n", j.dump().c_str());
  return 0;
}

}  // namespace weft::bench
