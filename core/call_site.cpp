#include "core/call_site.h"

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>

namespace weft::detail {

std::string describe_frame(void* frame) {
  Dl_info info{};
  // A return address may lie behind the end of the calling function.
  void* call = static_cast<char*>(frame) - 1;
  if (!dladdr(call, &info)) return {};
  std::string line = info.dli_fname ? info.dli_fname : "?";
  line = line.substr(line.rfind('/') + 1);
  if (info.dli_sname) {
    int status = 0;
    char* name = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    line = std::string(status == 0 ? name : info.dli_sname) + " (" + line + ")";
    std::free(name);
  } else {
    char at[32];
    uint64_t offset = reinterpret_cast<uint64_t>(call) - reinterpret_cast<uint64_t>(info.dli_fbase);
    int at_digit = 0;
    for (int shift = 60; shift >= 0; shift -= 4)
      if (at_digit > 0 || (offset >> shift) != 0 || shift == 0)
        at[at_digit++] = "0123456789abcdef"[offset >> shift & 15];
    line += " +0x" + std::string(at, static_cast<size_t>(at_digit));
  }
  return line;
}

}  // namespace weft::detail
