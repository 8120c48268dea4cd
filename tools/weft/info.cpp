#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/parallel.h"
#include "core/registry.h"
#include "tools/weft/commands.h"

namespace weft::tools {
namespace {

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
  j["cuda"] = {{"available", false}, {"reason", "this build has no CUDA backend"}};
  return j;
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
        std::printf("%-10s no: %s\n", "cuda", value["reason"].get<std::string>().c_str());
      else
        std::printf("%-10s %s\n", key.c_str(),
                    value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
    }
    return 0;
  };
}

}  // namespace weft::tools
