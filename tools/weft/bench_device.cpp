#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>

#include "core/cuda.h"
#include "core/error.h"
#include "core/thread_state.h"
#include "optim/adam.h"
#include "tools/weft/bench.h"
#include "tools/weft/bench_device_cases.h"
#include "tools/weft/device.h"
#include "tools/weft/models.h"
#include "weft.h"

namespace weft::bench {
namespace {

using nlohmann::ordered_json;

double rounded(double v, double steps) { return std::round(v * steps) / steps; }

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// What 1000 additions of a few numbers take: the host's time to put them into the stream, and the device's.
ordered_json measure_launches(Device device, bool small) {
  NoGrad guard;
  const int ops = small ? 20 : 1000;
  const Tensor one = ones({16}, {.device = device});
  std::vector<double> host, on_device;
  for (int round = 0; round < (small ? 2 : 8); ++round) {
    cuda::Event begin, end;
    tools::finish(device);
    const auto start = std::chrono::steady_clock::now();
    begin.record();
    Tensor x = one;
    for (int i = 0; i < ops; ++i) x = x + one;
    end.record();
    const std::chrono::duration<double, std::micro> put = std::chrono::steady_clock::now() - start;
    tools::finish(device);
    if (round == 0) continue;
    host.push_back(put.count() / ops);
    on_device.push_back(begin.elapsed_ms(end) * 1e3 / ops);
  }
  return {{"us", rounded(std::max(median(host), median(on_device)), 1e3)},
          {"host_us", rounded(median(host), 1e3)},
          {"device_us", rounded(median(on_device), 1e3)}};
}

// GPT-2 124M: forward in bf16 by Autocast, backward, AdamW.
ordered_json measure_gpt2(Device device, bool small) {
  const models::GptOptions o =
      small ? models::GptOptions{128, 16, 2, 2, 32} : models::GptOptions{50304, 1024, 12, 12, 768};
  const int64_t batch = small ? 2 : 8;
  manual_seed(0);
  models::Gpt model(o);
  model.to(device);
  const Tensor x = randint(0, o.vocab, {batch, o.block}).to(device);
  const Tensor y = randint(0, o.vocab, {batch, o.block}).to(device).flatten();
  optim::AdamW optimizer(model.parameters(), {.lr = 6e-4});
  tools::reset_peak(device);
  std::vector<double> ms;
  double first = 0, last = 0, host = 0;
  for (int i = 0; i < (small ? 3 : 15); ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto ms_since = [&] {
      return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    };
    optimizer.zero_grad();
    Tensor loss;
    {
      const Autocast cast(device, DType::bf16);
      loss = cross_entropy(model(x).flatten(0, -2), y);
    }
    loss.backward();
    optimizer.step();
    const double put = ms_since();
    tools::finish(device);
    const double all = ms_since();
    if (i == 0) first = loss.item<double>();
    last = loss.item<double>();
    if (i < (small ? 1 : 4)) continue;
    host = put;
    ms.push_back(all);
  }
  WEFT_CHECK(std::isfinite(last) && last < first, "gpt2: the loss goes from {} to {}", first, last);
  const double step = median(ms);
  return {{"us", rounded(step * 1e3, 1e3)},
          {"min_us", rounded(*std::min_element(ms.begin(), ms.end()) * 1e3, 1e3)},
          {"host_ms", rounded(host, 1e3)},
          {"tokens_per_s", std::round(static_cast<double>(batch * o.block) / step * 1e3)},
          {"peak_mb", std::round(tools::peak_mb(device))},
          {"loss", {rounded(first, 1e4), rounded(last, 1e4)}}};
}

class Bench {
 public:
  explicit Bench(const DeviceOptions& o) : options_(o), device_(tools::use_device(o.device, "bench")) {}

  int run() {
    WEFT_CHECK(device_.is_cuda(), "bench device: needs a CUDA device, not {}", device_);
    const std::regex only(options_.only);
    const auto chosen = [&](const std::string& name) { return options_.only.empty() || std::regex_search(name, only); };
    std::vector<DeviceCase> cases = device_cases(device_, options_.small);
    bool memory = false;
    for (const DeviceCase& c : cases) memory |= c.bytes > 0 && chosen(c.name);
    const double bytes = options_.small ? 1 << 14 : 1 << 28;
    if (memory || chosen("copy/f32"))
      protect("copy/f32", fmt::format("{:.0f}", bytes / 4), [&] {
        bandwidth_ = tools::copy_bandwidth(device_, bytes);
        return ordered_json{{"us", rounded(2 * bytes / bandwidth_ * 1e-3, 1e3)},
                            {"gb_per_s", rounded(bandwidth_, 10)},
                            {"fraction", 1.0}};
      });
    for (const DeviceCase& c : cases)
      if (chosen(c.name)) protect(c.name, c.shape, [&] { return measure(c); });
    if (chosen("launch_add/f32"))
      protect("launch_add/f32", "16", [&] { return measure_launches(device_, options_.small); });
    if (chosen("gpt2_124m_train/bf16"))
      protect("gpt2_124m_train/bf16", options_.small ? "2x16" : "8x1024",
              [&] { return measure_gpt2(device_, options_.small); });
    WEFT_CHECK(!rows_.empty(), "bench: no case matches");
    table();
    return failed_ > 0 ? 1 : 0;
  }

 private:
  ordered_json measure(const DeviceCase& c) const {
    const tools::DeviceTime t = tools::device_time(device_, c.make());
    ordered_json j{{"us", rounded(t.median, 1e3)}, {"min_us", rounded(t.least, 1e3)}};
    if (c.bytes > 0) {
      j["gb_per_s"] = rounded(c.bytes / t.median * 1e-3, 10);
      if (bandwidth_ > 0) j["fraction"] = rounded(c.bytes / t.median * 1e-3 / bandwidth_, 1e3);
    }
    if (c.flops > 0) j["tflop_per_s"] = rounded(c.flops / t.median * 1e-6, 1e3);
    return j;
  }

  // A failure is the case's result; the next one begins with an idle device and no memory taken.
  void protect(const std::string& name, const std::string& shape, const std::function<ordered_json()>& f) {
    ordered_json row{{"name", name}, {"shape", shape}};
    try {
      row.update(f());
    } catch (const std::exception& e) {
      row["error"] = e.what();
      ++failed_;
    }
    try {
      tools::finish(device_);
      cuda::empty_cache();
    } catch (const std::exception& e) {
      if (!row.contains("error")) ++failed_;
      row["error"] = e.what();
    }
    std::printf("%s\n", row.dump().c_str());
    std::fflush(stdout);
    rows_.push_back(std::move(row));
  }

  void table() const {
    const cuda::DeviceProperties p = cuda::device_properties(device_.index);
    fmt::print("\n{}, compute capability {}.{}, copies at {:.0f} GB/s\n{:<34}{:>20}{:>12}{:>10}{:>10}{:>10}\n", p.name,
               p.major, p.minor, bandwidth_, "", "", "us", "GB/s", "TFLOP/s", "of copy");
    for (const ordered_json& r : rows_) {
      const auto cell = [&](const char* key, int digits) {
        return r.contains(key) ? fmt::format("{:.{}f}", r[key].get<double>(), digits) : std::string();
      };
      fmt::print("{:<34}{:>20}{:>12}{:>10}{:>10}{:>10}", r["name"].get<std::string>(), r["shape"].get<std::string>(),
                 cell("us", 1), cell("gb_per_s", 0), cell("tflop_per_s", 1), cell("fraction", 2));
      if (r.contains("error")) fmt::print("  {}", r["error"].get<std::string>());
      if (r.contains("host_us")) fmt::print("  host {} us, device {} us", cell("host_us", 2), cell("device_us", 2));
      if (r.contains("tokens_per_s"))
        fmt::print("  {} tokens/s, {} MiB, host {} ms", cell("tokens_per_s", 0), cell("peak_mb", 0),
                   cell("host_ms", 1));
      fmt::print("\n");
    }
  }

  DeviceOptions options_;
  Device device_;
  double bandwidth_ = 0;
  int failed_ = 0;
  std::vector<ordered_json> rows_;
};

}  // namespace

int run_device(const DeviceOptions& o) { return Bench(o).run(); }

}  // namespace weft::bench
