#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "compile/compile.h"
#include "core/cuda.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/thread_state.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tools/weft/bench.h"
#include "tools/weft/bench_ceilings.h"
#include "tools/weft/device.h"
#include "tools/weft/json_file.h"
#include "tools/weft/models.h"
#include "weft.h"

namespace weft::bench {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count() * 1e3; }

struct Batch {
  Tensor x, y;
};
Batch make_batch(const json& w) {
  const int64_t n = w.at("batch");
  if (w.at("kind") == "mlp")
    return {randn({n, w["sizes"][0].get<int64_t>()}), randint(0, w["sizes"].back().get<int64_t>(), {n})};
  if (w.contains("image")) {
    Dims sizes(w["image"].get<std::vector<int64_t>>());
    sizes.insert(0, n);
    return {randn(sizes), randint(0, w.at("classes").get<int64_t>(), {n})};
  }
  const int64_t block = w.at("block"), vocab = w.at("vocab");
  return {randint(0, vocab, {n, block}), randint(0, vocab, {n, block})};
}

std::unique_ptr<optim::Optimizer> make_optimizer(const json& w, std::vector<Tensor> params) {
  const double lr = w.at("lr");
  if (w.at("optimizer") == "adamw")
    return std::make_unique<optim::AdamW>(std::move(params), optim::AdamWOptions{.lr = lr});
  return std::make_unique<optim::SGD>(std::move(params),
                                      optim::SGDOptions{.lr = lr, .momentum = w.value("momentum", 0.0)});
}

// Multiplications and additions of the matrix products of one forward pass, seen by hooks on every layer that has a
// weight matrix; attention is added by its formula (causal: half).
double forward_flops(models::Model& model, const json& w, const Tensor& x) {
  double flops = 0;
  std::vector<std::pair<nn::Module*, int64_t>> hooks;
  for (nn::Module* m : model.modules()) {
    auto names = m->named_parameters();
    const Tensor* weight = nullptr;
    for (const auto& p : names)
      if (p.name == "weight" && p.tensor.dim() >= 2) weight = &p.tensor;
    if (!weight || m->type_name().find("Embedding") != std::string::npos) continue;
    const double per_output = 2.0 * static_cast<double>(weight->numel()) / static_cast<double>(weight->size(0));
    hooks.push_back({m, m->register_forward_hook([&flops, per_output](nn::Module&, const Tensor&, const Tensor& out) {
                       flops += per_output * static_cast<double>(out.numel());
                       return Tensor();
                     })});
  }
  NoGrad guard;
  model(x);
  for (auto& [m, id] : hooks) m->remove_hook(id);
  if (w.at("kind") == "gpt") {
    const double t = w.at("block"), e = w.at("embd"), n = w.at("batch"), layers = w.at("layers");
    flops += layers * n * 2 * (2 * t * t * e) / 2;
  }
  return flops;
}

// From this step on memory is that of a steady one: a compiled function's plans are made.
constexpr int kSettled = 4;

// What the step would take if nothing but its matrix products (at the FMA peak) and its parameter traffic (at the copy
// bandwidth of memory) cost time.
double floor_ms(double flops, double bytes, bool bf16, Device device) {
  if (device.is_cuda()) {
    const bool real = !cuda::device_properties(device.index).emulated;
    return (flops / tools::matmul_peak(device, bf16 ? DType::bf16 : DType::f32) +
            bytes / tools::copy_bandwidth(device, real ? kLargeBytes : 1 << 16)) *
           1e-6;
  }
  return (flops / fma_peak(bf16, num_threads()) + bytes / bandwidth(Pattern::copy, kLargeBytes)) * 1e-6;
}

}  // namespace

int run_train(const TrainOptions& o) {
  const Device device = tools::use_device(o.device, "bench");
  const json all = tools::read_json<json>(o.workloads);
  WEFT_CHECK(all.contains(o.workload), "bench: {} has no workload {}", o.workloads, o.workload);
  json w = all[o.workload];
  if (o.batch > 0) w["batch"] = o.batch;
  manual_seed(0);
  std::unique_ptr<models::Model> model = models::make_model(w);
  Batch data = make_batch(w);
  if (o.channels_last && w.contains("image")) {
    model->to(MemoryFormat::channels_last);
    data.x = data.x.to(MemoryFormat::channels_last);
  }
  if (device.is_cuda()) {
    model->to(device);
    data = {data.x.to(device), data.y.to(device)};
    tools::reset_peak(device);
  }
  auto optimizer = make_optimizer(w, model->parameters());
  const Tensor targets = data.y.flatten();
  if (o.infer) model->eval();
  DType lower = DType::bf16;
  const bool amp = o.amp != "none";
  WEFT_CHECK(!amp || parse_dtype(o.amp, lower), "bench: unknown dtype {}", o.amp);
  auto eager = [&]() -> Tensor {
    if (o.infer) {
      InferenceMode guard;
      const Autocast cast(device, lower, {.enabled = amp});
      return (*model)(data.x).mean();
    }
    optimizer->zero_grad();
    Tensor loss;
    {
      const Autocast cast(device, lower, {.enabled = amp});
      loss = cross_entropy((*model)(data.x).flatten(0, -2), targets);
    }
    loss.backward();
    optimizer->step();
    return loss;
  };
  const auto mode = parse_compile_mode(o.mode);
  // A forward pass of a model that stays as it is may be replayed directly, with weights packed once.
  auto fast = compile(eager, {.mode = mode.value_or(CompileMode::default_), .pure = o.infer, .freezing = o.infer});
  const bool compiled = mode.has_value();
  // The loss after so many steps, however many are made.
  int steps = 0;
  double last_loss = 0;
  const auto step = [&] {
    Tensor loss = compiled ? fast() : eager();
    if (++steps == o.steps) last_loss = loss.item<double>();
  };
  auto t = Clock::now();
  step();
  tools::finish(device);
  const double first = ms_since(t) * 1e-3;
  if (compiled) settle([&] { step(); }, [&] { return fast.stats(); });
  std::vector<double> times;
  for (int i = 1; i < o.steps; ++i) {
    if (i == kSettled) reset_peak_memory_stats();
    t = Clock::now();
    step();
    tools::finish(device);
    times.push_back(ms_since(t));
  }
  times.erase(times.begin(), times.begin() + std::min<ptrdiff_t>(3, static_cast<ptrdiff_t>(times.size()) - 1));
  std::sort(times.begin(), times.end());
  const double median =
      times.size() % 2 ? times[times.size() / 2] : (times[times.size() / 2 - 1] + times[times.size() / 2]) / 2;
  const double peak = tools::peak_mb(device);
  const double steady_mb = std::round(static_cast<double>(memory_stats().peak_allocated) / (1 << 20) * 10) / 10;

  double param_bytes = 0;
  for (const Tensor& p : model->parameters()) param_bytes += static_cast<double>(p.nbytes());
  // Training: each product has two more in backward; parameters are read and written, gradients written and read, and
  // the optimizer reads and writes one (momentum) or two (Adam) tensors beside them.
  const double passes = o.infer ? 1 : 3, traffic = o.infer ? 1 : w.at("optimizer") == "adamw" ? 8 : 6;
  const double floor =
      floor_ms(passes * forward_flops(*model, w, data.x), traffic * param_bytes, amp && lower == DType::bf16, device);
  auto rounded = [](double ms) { return std::round(ms * 1e6) / 1e6; };
  const double code_s = compiled ? fast.stats().code_s : 0;
  json j = {{"peer", std::string("weft-") + WEFT_VERSION},
            {"workload", o.workload},
            {"mode", o.mode},
            {"device", o.device},
            {"amp", amp ? o.amp : ""},
            {"threads", num_threads()},
            {"infer", o.infer},
            {"batch", w["batch"]},
            {"step_ms", rounded(median)},
            {"min_ms", rounded(times.front())},
            {"first_step_s", std::round(first * 1e5) / 1e5},
            {"steady_mb", steady_mb},
            {"steady_s", code_s > 0 ? json(std::round(code_s * 1e5) / 1e5) : json(nullptr)},
            {"peak_mb", static_cast<int64_t>(std::round(peak))},
            {"floor_ms", rounded(floor)},
            {"loss", std::round(last_loss * 1e5) / 1e5}};
  std::printf("%s\n", j.dump().c_str());
  if (compiled && std::getenv("WEFT_DEBUG")) std::fputs(fast.report().c_str(), stderr);
  return 0;
}

}  // namespace weft::bench
