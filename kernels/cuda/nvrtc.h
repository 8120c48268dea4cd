#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/code_cache.h"

// NVIDIA's run-time compiler, loaded when it is first asked for: needs neither a GPU nor the toolkit at build time.
namespace weft::gpu {

using weft::detail::CompiledKernel;

struct NvrtcHeader {
  std::string name;  // as the source includes it
  std::string text;
};

class Nvrtc {
 public:
  // The library, loaded once per process; null where there is none, with the reason in `why` if given.
  static const Nvrtc* load(std::string* why = nullptr);

  // Device code for `architecture` (80 is sm_80) under weft's numerics: no contraction, IEEE division and square root,
  // no flush to zero. Throws weft::Error with the compiler's words.
  std::string ptx(const std::string& source, std::span<const NvrtcHeader> headers, int architecture) const;
  std::string cubin(const std::string& source, std::span<const NvrtcHeader> headers, int architecture) const;

  // The kernel that `expression` names, alone with what it calls: a cubin, or PTX where the compiler is older than the
  // architecture.
  CompiledKernel kernel(const std::string& source, std::span<const NvrtcHeader> headers, int architecture,
                        const std::string& expression) const;

  // 13000 is CUDA 13.0.
  int version() const { return version_; }

 private:
  struct Program;
  CompiledKernel compile(const std::string& source, std::span<const NvrtcHeader> headers, const std::string& target,
                         bool binary, const std::string& expression) const;

  int (*create_)(Program**, const char* source, const char* name, int headers, const char* const* texts,
                 const char* const* names) = nullptr;
  int (*destroy_)(Program**) = nullptr;
  int (*compile_)(Program*, int options, const char* const* words) = nullptr;
  int (*log_size_)(Program*, size_t*) = nullptr;
  int (*log_)(Program*, char*) = nullptr;
  int (*ptx_size_)(Program*, size_t*) = nullptr;
  int (*ptx_)(Program*, char*) = nullptr;
  int (*cubin_size_)(Program*, size_t*) = nullptr;
  int (*cubin_)(Program*, char*) = nullptr;
  const char* (*error_)(int) = nullptr;
  int (*add_name_)(Program*, const char* expression) = nullptr;
  int (*lowered_name_)(Program*, const char* expression, const char** name) = nullptr;
  int (*count_architectures_)(int*) = nullptr;
  int (*architectures_)(int*) = nullptr;
  int version_ = 0;
};

}  // namespace weft::gpu
