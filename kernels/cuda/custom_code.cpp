#include "kernels/cuda/custom_code.h"

#include <vector>

#include "core/dims.h"
#include "core/error.h"
#include "kernels/cuda/nvrtc.h"

namespace weft::gpu {
namespace {

const std::vector<NvrtcHeader>& headers() {
  static const std::vector<NvrtcHeader> all = [] {
    std::vector<NvrtcHeader> found;
    for (const EmbeddedText& t : device_texts()) {
      if (t.name != "kernels/cuda/rtc/std.h") {
        found.push_back({std::string(t.name), std::string(t.text)});
        continue;
      }
      for (const char* name : {"cstdint", "cstddef", "type_traits", "utility", "string_view"})
        found.push_back({name, "#include \"kernels/cuda/rtc/std.h\"\n"});
      found.push_back({std::string(t.name), std::string(t.text)});
    }
    return found;
  }();
  return all;
}

uint64_t headers_hash() {
  static const uint64_t hash = [] {
    uint64_t h = weft::detail::hash_bytes(nullptr, 0);
    for (const EmbeddedText& t : device_texts())
      h = weft::detail::hash_bytes(t.text.data(), t.text.size(),
                                   weft::detail::hash_bytes(t.name.data(), t.name.size(), h));
    return h;
  }();
  return hash;
}

}  // namespace

CustomText custom_text(const CustomOpSource& op, int which, CustomKernel kernel) {
  const std::string record = "weft::ops::custom::" + std::string(op.record);
  const std::string formula = which < 0 ? "weft::gpu::Forward<" + record + ">"
                                        : "weft::gpu::Backward<" + record + ", " + std::to_string(which) + ">";
  constexpr const char* kernels[] = {"row_kernel<{}, float>",      "row_kernel<{}, weft::BFloat16>",
                                     "row_kernel<{}, weft::Half>", "strided_kernel<{}, float>",
                                     "strided_kernel<{}, double>", "strided_kernel<{}, weft::math::i64>"};
  CustomText out;
  out.kernel = std::string("weft::gpu::") + kernels[int(kernel)];
  out.kernel.replace(out.kernel.find("{}"), 2, formula);
  out.source = "namespace weft {\ninline constexpr int kMaxDims = " + std::to_string(kMaxDims) +
               ", kMaxParams = " + std::to_string(kMaxParams) +
               ";\n}\n#include \"kernels/cuda/pointwise.cuh\"\nnamespace weft::ops::custom {\n#line 1 \"" +
               op.info->name + "\"\n" + std::string(op.text) + "\n}\n";
  return out;
}

CompiledKernel custom_code(const CustomOpSource& op, int which, CustomKernel kernel, int architecture,
                           CodeCache& cache) {
  std::string why;
  const Nvrtc* nvrtc = Nvrtc::load(&why);
  WEFT_CHECK(
      nvrtc != nullptr,
      "{}: own ops are compiled for a device when they first run there, and there is {}; install NVRTC of CUDA 12 "
      "or 13 (libnvrtc.so), or compute on the host: .to(\"cpu\")",
      op.info->name, why);
  const CustomText text = custom_text(op, which, kernel);
  const std::string key = text.source + "// " + text.kernel + " for " + std::to_string(architecture) + " by NVRTC " +
                          std::to_string(nvrtc->version()) + " with texts " + std::to_string(headers_hash()) + "\n";
  CompiledKernel out;
  if (cache.find(key, out)) return out;
  try {
    out = nvrtc->kernel(text.source, headers(), architecture, text.kernel);
  } catch (const InternalError& e) {
    detail::fail_with(detail::Fault::user,
                      "{}: its text does not compile for a device; it may use the words of core/ops/math.h and its own "
                      "names, no macro or function of the file around it; {}",
                      op.info->name, std::string_view(e.what()));
  }
  cache.store(key, out);
  return out;
}

}  // namespace weft::gpu
