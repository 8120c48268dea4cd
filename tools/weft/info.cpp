#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/allocator.h"
#include "core/cuda.h"
#include "core/parallel.h"
#include "core/registry.h"
#include "tools/weft/commands.h"

namespace weft::tools {
namespace {

nlohmann::json cuda_facts() {
  nlohmann::json j{{"build", WEFT_CUDA_MODE}, {"available", cuda::is_available()}};
  if (!cuda::is_available()) {
    j["reason"] = cuda::why_unavailable();
    return j;
  }
  j["devices"] = nlohmann::json::array();
  for (int i = 0; i < cuda::device_count(); ++i) {
    const cuda::DeviceProperties p = cuda::device_properties(i);
    nlohmann::json d{{"device", Device(DeviceType::cuda, i).str()},
                     {"name", p.name},
                     {"capability", std::to_string(p.major) + "." + std::to_string(p.minor)},
                     {"memory", p.total_memory},
                     {"l2_cache", p.l2_cache},
                     {"multiprocessors", p.multiprocessors},
                     {"bf16", p.major >= 8}};
    if (p.major < 8) d["bf16_reason"] = "no: needs compute capability 8.0 or later";
    j["devices"].push_back(std::move(d));
  }
  std::istringstream lines(cuda::libraries());
  j["libraries"] = nlohmann::json::array();
  for (std::string line; std::getline(lines, line);) j["libraries"].push_back(line);
  return j;
}

nlohmann::json facts() {
  nlohmann::json j;
  j["version"] = WEFT_VERSION;
  j["compiler"] = __VERSION__;
#if defined(__AVX512BF16__)
  j["kernels"] = "AVX-512 with bf16";
#elif defined(__AVX512F__)
  j["kernels"] = "AVX-512";
#elif defined(__AVX2__)
  j["kernels"] = "AVX2";
#else
  j["kernels"] = "portable";
#endif
  j["threads"] = num_threads();
  j["ops"] = op_names().size();
  j["cuda"] = cuda_facts();
  return j;
}

void print_cuda(const nlohmann::json& j) {
  const std::string build = j["build"];
  if (!j["available"].get<bool>())
    std::printf("%-10s no: %s\n", "cuda", j["reason"].get<std::string>().c_str());
  else
    std::printf("%-10s yes%s\n", "cuda", build == "emulate" ? ", emulated on the host: for tests, not for speed" : "");
  std::printf("%-10s WEFT_CUDA=%s\n", "", build.c_str());
  if (!j["available"].get<bool>()) return;
  for (const auto& d : j["devices"])
    std::printf("%-10s %s, compute capability %s, %.1f GiB, %d multiprocessors, bf16: %s\n",
                d["device"].get<std::string>().c_str(), d["name"].get<std::string>().c_str(),
                d["capability"].get<std::string>().c_str(), d["memory"].get<double>() / (1 << 30),
                d["multiprocessors"].get<int>(),
                d["bf16"].get<bool>() ? "yes" : d["bf16_reason"].get<std::string>().c_str());
  for (const auto& line : j["libraries"]) std::printf("%-10s %s\n", "", line.get<std::string>().c_str());
}

}  // namespace

Run add_info(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "as one JSON object");
  return [json] {
    nlohmann::json j = facts();
    if (*json) {
      std::printf("%s\n", j.dump().c_str());
      return 0;
    }
    for (const auto& [key, value] : j.items()) {
      if (key == "cuda")
        print_cuda(value);
      else
        std::printf("%-10s %s\n", key.c_str(),
                    value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
    }
    return 0;
  };
}

}  // namespace weft::tools
