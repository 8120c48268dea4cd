#include "tools/weft/bench.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "core/error.h"
#include "core/parallel.h"
#include "tools/weft/commands.h"
#include "tools/weft/device.h"

namespace weft::bench {

double best_us(const std::function<void()>& f, Device device) {
  using Clock = std::chrono::steady_clock;
  auto seconds = [](Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); };
  f();
  f();
  tools::finish(device);
  auto t = Clock::now();
  f();
  tools::finish(device);
  const int n = std::max(1, static_cast<int>(0.02 / std::max(seconds(t), 1e-7)));
  double best = 1e30;
  for (int round = 0; round < 9; ++round) {
    t = Clock::now();
    for (int i = 0; i < n; ++i) f();
    tools::finish(device);
    best = std::min(best, seconds(t) / n * 1e6);
  }
  return best;
}

void settle(const std::function<void()>& call, const std::function<CompileStats()>& stats) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::seconds(20);
  int64_t timed = 0;
  for (int alike = 0; alike < 4 && Clock::now() < end; ++alike) {
    call();
    const CompileStats now = stats();
    if (now.building || now.timed != timed) alike = 0;
    timed = now.timed;
  }
}

}  // namespace weft::bench

namespace weft::tools {

Run add_bench(CLI::App& app) {
  app.require_subcommand(1);
  auto threads = [](CLI::App* sub, int& to) {
    sub->add_option("--threads", to, "threads (default: all cores)")->check(CLI::Range(1, 1024));
  };
  auto device = [](CLI::App* sub, std::string& to) {
    sub->add_option("--device", to, "cpu, cuda or cuda:N")->check(check_device)->capture_default_str();
  };
  const std::vector<std::string> modes{"eager", "default", "reduce-overhead", "max-autotune"};
  auto use = [](int n) {
    if (n > 0) set_num_threads(n);
  };

  auto train = std::make_shared<bench::TrainOptions>();
  auto infer = std::make_shared<bench::TrainOptions>();
  infer->infer = true;
  infer->batch = 1;
  CLI::App* train_app = app.add_subcommand("train", "one training step of a workload, as one JSON line");
  CLI::App* infer_app = app.add_subcommand("infer", "the forward pass of a workload, as one JSON line");
  for (auto [sub, o] : {std::pair{train_app, train}, std::pair{infer_app, infer}}) {
    sub->add_option("--workload", o->workload, "name in FILE")->required();
    sub->add_option("--workloads", o->workloads, "JSON file of workloads")->required();
    sub->add_option("--steps", o->steps, "steps timed")->check(CLI::Range(2, 1000000));
    sub->add_option("--batch", o->batch, "batch size instead of the workload's")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
    device(sub, o->device);
    sub->add_option("--mode", o->mode, "eager, or the step as a compiled function")->check(CLI::IsMember(modes));
    sub->add_option("--amp", o->amp, "run forward passes under Autocast in this dtype")
        ->check(CLI::IsMember({"none", "bf16", "f16"}));
    sub->add_flag("--channels-last", o->channels_last, "images and convolutions in NHWC");
    threads(sub, o->threads);
  }

  CLI::Option* generate =
      infer_app
          ->add_option("--generate", infer->generate, "write N symbols with a gpt workload, and tell how many a second")
          ->check(CLI::Range(int64_t{1}, int64_t{1} << 30, "N"));
  infer_app->add_flag("--no-cache", infer->no_cache, "with --generate: compute all keys and values for each symbol")
      ->needs(generate);

  auto kernels = std::make_shared<bench::KernelOptions>();
  CLI::App* kernels_app = app.add_subcommand("kernels", "times the cases of a file, a JSON line each");
  kernels_app->add_option("--cases", kernels->cases, "JSON file of cases (default: a list of its own)");
  kernels_app->add_option("--only", kernels->only, "only cases whose name matches");
  kernels_app->add_flag("--bits", kernels->bits, "compare the bits of one thread and of all instead of timing");
  kernels_app->add_option("--mode", kernels->mode, "eager, or each case as a compiled function")
      ->check(CLI::IsMember(modes));
  device(kernels_app, kernels->device);
  threads(kernels_app, kernels->threads);

  auto op = std::make_shared<bench::OpOptions>();
  CLI::App* op_app = app.add_subcommand("op", "times one op of any name");
  op_app->add_option("NAME", op->name, "an op, e.g. softmax")->required();
  op_app->add_option("--shapes", op->shapes, "AxB,CxD")->required();
  op_app->add_option("--dtype", op->dtype, "f32, f64, bf16, ...");
  op_app->add_option("--arg", op->arguments, "an argument that is no tensor, e.g. dim=-1; may be repeated");
  op_app->add_flag("--grad", op->grad, "forward and backward");
  device(op_app, op->device);
  threads(op_app, op->threads);

  auto matching = std::make_shared<bench::MatchingOptions>();
  CLI::App* matching_app = app.add_subcommand("matching", "what an op of a compiled function costs");
  matching_app->add_option("--ops", matching->ops, "ops in the function")->check(CLI::Range(1, 10000));

  auto roofline = std::make_shared<bench::RooflineOptions>();
  CLI::App* roofline_app = app.add_subcommand("roofline", "the machine's ceilings, and kernels against them");
  roofline_app->add_option("--cases", roofline->kernels.cases, "JSON file of cases (default: a list of its own)");
  roofline_app->add_option("--only", roofline->kernels.only, "only cases whose name matches");
  roofline_app->add_option("--json", roofline->json, "file for the figures");
  roofline_app->add_option("--html", roofline->html, "file for a page with the picture");
  threads(roofline_app, roofline->kernels.threads);

  auto on_device = std::make_shared<bench::DeviceOptions>();
  CLI::App* device_app =
      app.add_subcommand("device", "what a device does: memory, kernels, products, attention, launches, GPT-2");
  device(device_app, on_device->device);
  device_app->add_option("--only", on_device->only, "only cases whose name matches");
  device_app->add_flag("--small", on_device->small, "tiny sizes: does every case run?");

  auto data = std::make_shared<bench::DataOptions>();
  CLI::App* data_app = app.add_subcommand("data", "samples a second of a data loader, as one JSON line");
  data_app->add_option("--samples", data->samples, "images of 28 x 28")->check(CLI::Range(1, 10000000));
  data_app->add_option("--batch", data->batch, "batch size")->check(CLI::Range(1, 1 << 20));
  data_app->add_option("--workers", data->workers, "threads of the loader")->check(CLI::Range(0, 1024));
  data_app->add_option("--epochs", data->epochs, "epochs; the best counts")->check(CLI::Range(1, 1000));
  data_app->add_option("--peer", data->peer, "command to compare with, e.g. \"python tools/torch_data.py\"");

  return [=] {
    if (data_app->parsed()) return bench::run_data(*data);
    if (device_app->parsed()) return bench::run_device(*on_device);
    if (train_app->parsed()) return use(train->threads), bench::run_train(*train);
    if (infer_app->parsed())
      return use(infer->threads), infer->generate > 0 ? bench::run_generate(*infer) : bench::run_train(*infer);
    if (kernels_app->parsed()) return use(kernels->threads), bench::run_kernels(*kernels);
    if (matching_app->parsed()) return bench::run_matching(*matching);
    if (roofline_app->parsed()) return use(roofline->kernels.threads), bench::run_roofline(*roofline);
    return use(op->threads), bench::run_op(*op);
  };
}

}  // namespace weft::tools
