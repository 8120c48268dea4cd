#include <cmath>
#include <cstdio>

#include "core/cuda.h"
#include "core/error.h"
#include "core/registry.h"
#include "core/thread_state.h"
#include "tools/weft/bench_cases.h"
#include "tools/weft/bench_ceilings.h"
#include "tools/weft/device.h"
#include "tools/weft/json_file.h"
#include "weft.h"

namespace weft::bench {
namespace {

using nlohmann::json;

// "64x32,32" as [[64, 32], [32]]
json parse_shapes(const std::string& text) {
  json shapes = json::array();
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string one = text.substr(at, comma - at);
    json sizes = json::array();
    for (size_t i = 0; i < one.size();) {
      const size_t x = std::min(one.find('x', i), one.size());
      const std::string digits = one.substr(i, x - i);
      WEFT_CHECK(!digits.empty() && digits.size() < 12 && digits.find_first_not_of("0123456789") == std::string::npos,
                 "bench: \"{}\" is no shape; write 64x32", one);
      sizes.push_back(std::stoll(digits));
      i = x + 1;
    }
    shapes.push_back(sizes);
    at = comma + 1;
  }
  return shapes;
}

// name=value: a value as JSON has it, else text.
NamedValue parse_argument(const std::string& text) {
  const size_t equals = text.find('=');
  WEFT_CHECK(equals != std::string::npos && equals > 0, "bench: \"{}\" is no argument; write dim=-1", text);
  const std::string word = text.substr(equals + 1);
  const json j = json::parse(word, nullptr, false);
  const std::string key = text.substr(0, equals);
  if (j.is_boolean()) return {key, j.get<bool>()};
  if (j.is_number_integer()) return {key, j.get<int64_t>()};
  if (j.is_number()) return {key, j.get<double>()};
  if (j.is_array()) return {key, j.get<std::vector<int64_t>>()};
  return {key, word};
}

}  // namespace

int run_kernels(const KernelOptions& o) {
  const json cases = cases_of(o);
  if (o.bits) {
    const int differ = compare_threads(cases, o, [](const std::string& name, bool same) {
      std::printf("%s\n", json{{"name", name}, {"same", same}}.dump().c_str());
    });
    return differ > 0 ? 1 : 0;
  }
  const int failed = time_cases(cases, o, [](const Timed& t) {
    std::printf("%s\n", json{{"name", t.name}, {"us", std::round(t.us * 1000) / 1000}}.dump().c_str());
    std::fflush(stdout);
  });
  return failed > 0 ? 1 : 0;
}

namespace {

// A device's memory and matrix products, measured here; a product that has no kernel bounds nothing.
Ceiling device_ceiling_of(const Work& w, Device device) {
  const bool real = !cuda::device_properties(device.index).emulated;
  const double memory = w.bytes() / tools::copy_bandwidth(device, real ? kLargeBytes : 1 << 16) * 1e-3;
  double compute = 0;
  try {
    if (w.flops > 100 * w.bytes())
      compute = w.flops / tools::matmul_peak(device, w.bf16 ? DType::bf16 : DType::f32) * 1e-3;
  } catch (const Error&) {
  }
  return compute > memory ? Ceiling{"compute", compute, compute} : Ceiling{"copy", memory, memory};
}

}  // namespace

int run_op(const OpOptions& o) {
  DType dtype = DType::f32;
  WEFT_CHECK(parse_dtype(o.dtype, dtype), "bench: unknown dtype {}", o.dtype);
  WEFT_CHECK(find_op(o.name), "bench: there is no op named {}", o.name);
  const json c = {{"op", o.name}, {"shapes", parse_shapes(o.shapes)}};
  const Device device = tools::use_device(o.device, "bench");
  manual_seed(0);
  std::vector<Value> args;
  std::vector<Tensor> inputs;
  for (const auto& shape : c["shapes"]) {
    inputs.push_back(randn(Dims(shape.get<std::vector<int64_t>>())).to(device, dtype));
    if (o.grad) inputs.back().set_requires_grad(true);
    args.push_back(inputs.back());
  }
  std::vector<NamedValue> more;
  for (const std::string& text : o.arguments) more.push_back(parse_argument(text));
  auto run = [&] {
    const Value v = call(o.name, args, more);
    return v.is_tensor() ? v.as_tensor() : Tensor();
  };
  const Tensor out = run();
  const Work work = work_of(c, dtype, o.grad, out);
  double us = 0;
  if (o.grad) {
    WEFT_CHECK(out.defined() && out.requires_grad(), "bench: {} has no gradient here", o.name);
    Tensor cotangent = randn(out.sizes()).to(device, out.dtype());
    us = best_us([&] { grad({run()}, inputs, {.grad_outputs = {cotangent}, .allow_unused = true}); }, device);
  } else {
    NoGrad guard;
    us = best_us([&] { run(); }, device);
  }
  const Ceiling ceiling = device.is_cpu() ? ceiling_of(work) : device_ceiling_of(work, device);
  const json j = {{"name", o.name + "/" + o.shapes + "/" + o.dtype + (o.grad ? "/grad" : "")},
                  {"us", us},
                  {"gb_per_s", work.bytes() / us * 1e-3},
                  {"gflop_per_s", work.flops / us * 1e-3},
                  {"bound", ceiling.bound},
                  {"ceiling_us", ceiling.us},
                  {"fraction", ceiling.us / us}};
  std::printf("%s\n", j.dump().c_str());
  return 0;
}

}  // namespace weft::bench
