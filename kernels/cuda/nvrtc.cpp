#include "kernels/cuda/nvrtc.h"

#include <dlfcn.h>

#include <cstdlib>

#include "core/error.h"

namespace weft::gpu {
namespace {

void* open_library() {
  std::vector<std::string> folders = {""};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* home = std::getenv(variable))
      folders.insert(folders.end(), {std::string(home) + "/lib64/", std::string(home) + "/lib/"});
  folders.insert(folders.end(), {"/usr/local/cuda/lib64/", "/usr/local/cuda/lib/"});
  for (const std::string& folder : folders)
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"})
      if (void* library = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  return nullptr;
}

}  // namespace

const Nvrtc* Nvrtc::load(std::string* why) {
  static std::string reason;
  static const Nvrtc* const loaded = []() -> const Nvrtc* {
    void* library = open_library();
    if (!library) {
      reason = "no libnvrtc (looked in the library path, $CUDA_HOME, $CUDA_PATH and /usr/local/cuda)";
      return nullptr;
    }
    static Nvrtc n;
    bool complete = true;
    auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      complete &= function != nullptr;
    };
    int (*version)(int*, int*) = nullptr;
    find(n.create_, "nvrtcCreateProgram");
    find(n.destroy_, "nvrtcDestroyProgram");
    find(n.compile_, "nvrtcCompileProgram");
    find(n.log_size_, "nvrtcGetProgramLogSize");
    find(n.log_, "nvrtcGetProgramLog");
    find(n.ptx_size_, "nvrtcGetPTXSize");
    find(n.ptx_, "nvrtcGetPTX");
    find(n.cubin_size_, "nvrtcGetCUBINSize");
    find(n.cubin_, "nvrtcGetCUBIN");
    find(n.error_, "nvrtcGetErrorString");
    find(n.add_name_, "nvrtcAddNameExpression");
    find(n.lowered_name_, "nvrtcGetLoweredName");
    find(n.count_architectures_, "nvrtcGetNumSupportedArchs");
    find(n.architectures_, "nvrtcGetSupportedArchs");
    find(version, "nvrtcVersion");
    int major = 0, minor = 0;
    if (!complete || version(&major, &minor) != 0) {
      reason = "libnvrtc lacks functions of CUDA 12";
      return nullptr;
    }
    n.version_ = major * 1000 + minor * 10;
    return &n;
  }();
  if (why) *why = reason;
  return loaded;
}

std::string Nvrtc::ptx(const std::string& source, std::span<const NvrtcHeader> headers, int architecture) const {
  return compile(source, headers, "--gpu-architecture=compute_" + std::to_string(architecture), false, "").image;
}

std::string Nvrtc::cubin(const std::string& source, std::span<const NvrtcHeader> headers, int architecture) const {
  return compile(source, headers, "--gpu-architecture=sm_" + std::to_string(architecture), true, "").image;
}

CompiledKernel Nvrtc::kernel(const std::string& source, std::span<const NvrtcHeader> headers, int architecture,
                             const std::string& expression) const {
  int count = 0, best = 0;
  WEFT_ASSERT(count_architectures_(&count) == 0, "nvrtc: cannot count its architectures");
  std::vector<int> known(static_cast<size_t>(count));
  WEFT_ASSERT(architectures_(known.data()) == 0, "nvrtc: cannot list its architectures");
  for (const int a : known)
    if (a <= architecture && a > best) best = a;
  const bool exact = best == architecture;
  return compile(source, headers,
                 (exact ? "--gpu-architecture=sm_" : "--gpu-architecture=compute_") + std::to_string(best), exact,
                 expression);
}

CompiledKernel Nvrtc::compile(const std::string& source, std::span<const NvrtcHeader> headers,
                              const std::string& target, bool binary, const std::string& expression) const {
  std::vector<const char*> names, texts;
  for (const NvrtcHeader& h : headers) {
    names.push_back(h.name.c_str());
    texts.push_back(h.text.c_str());
  }
  auto check = [&](int status, const char* what) { WEFT_ASSERT(status == 0, "nvrtc: {}: {}", what, error_(status)); };
  Program* program = nullptr;
  check(create_(&program, source.c_str(), "weft.cu", int(headers.size()), texts.data(), names.data()), "create");
  struct Destroy {
    int (*destroy)(Program**);
    Program** program;
    ~Destroy() { destroy(program); }
  } guard{destroy_, &program};
  const char* options[] = {target.c_str(),    "--std=c++20",      "--fmad=false",   "--ftz=false",
                           "--prec-div=true", "--prec-sqrt=true", "-default-device"};
  if (!expression.empty()) check(add_name_(program, expression.c_str()), "name");
  int status = compile_(program, int(std::size(options)), options);
  size_t size = 0;
  if (status != 0) {
    check(log_size_(program, &size), "log");
    std::string log(size, '\0');
    check(log_(program, log.data()), "log");
    WEFT_ASSERT(false, "nvrtc: {}\n{}", error_(status), std::string_view(log.c_str()));
  }
  check((binary ? cubin_size_ : ptx_size_)(program, &size), "result");
  CompiledKernel result{std::string(size, '\0'), {}};
  check((binary ? cubin_ : ptx_)(program, result.image.data()), "result");
  const char* name = nullptr;
  if (!expression.empty()) {
    check(lowered_name_(program, expression.c_str(), &name), "name");
    result.name = name;
  }
  return result;
}

}  // namespace weft::gpu
