#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "core/error.h"
#include "core/parallel.h"
#include "tools/weft/bench.h"
#include "tools/weft/device.h"
#include "tools/weft/generate.h"
#include "tools/weft/json_file.h"
#include "weft.h"

namespace weft::bench {

int run_generate(const TrainOptions& o) {
  using nlohmann::json;
  using Clock = std::chrono::steady_clock;
  const Device device = tools::use_device(o.device, "bench");
  const json all = tools::read_json<json>(o.workloads);
  WEFT_CHECK(all.contains(o.workload), "bench: {} has no workload {}", o.workloads, o.workload);
  WEFT_CHECK(o.mode == "eager", "bench: --generate has one mode, eager, not {}: every symbol has other shapes", o.mode);
  manual_seed(0);
  const std::unique_ptr<models::Model> model = models::make_model(all[o.workload]);
  auto* gpt = dynamic_cast<models::Gpt*>(model.get());
  WEFT_CHECK(gpt, "bench: --generate needs a workload of kind gpt, {} is {}", o.workload,
             all[o.workload].at("kind").get<std::string>());
  gpt->to(device);
  gpt->eval();
  DType lower = DType::bf16;
  const bool amp = o.amp != "none";
  WEFT_CHECK(!amp || parse_dtype(o.amp, lower), "bench: unknown dtype {}", o.amp);
  const Tensor prompts = randint(0, gpt->options.vocab, {o.batch, 1}).to(device);
  std::vector<double> rates;
  for (int i = 0; i < o.steps; ++i) {
    const Autocast cast(device, lower, {.enabled = amp});
    const Clock::time_point begin = Clock::now();
    models::generate(*gpt, prompts, {.length = o.generate, .temperature = 1, .cache = !o.no_cache});
    rates.push_back(static_cast<double>(o.generate * o.batch) /
                    std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::sort(rates.begin(), rates.end());
  const json j = {{"peer", std::string("weft-") + WEFT_VERSION},
                  {"workload", o.workload},
                  {"device", o.device},
                  {"amp", amp ? o.amp : ""},
                  {"threads", num_threads()},
                  {"batch", o.batch},
                  {"generate", o.generate},
                  {"cache", !o.no_cache},
                  {"tokens_per_s", std::round(rates[rates.size() / 2])},
                  {"most_tokens_per_s", std::round(rates.back())},
                  {"peak_mb", static_cast<int64_t>(std::round(tools::peak_mb(device)))}};
  std::printf("%s\n", j.dump().c_str());
  return 0;
}

}  // namespace weft::bench
