#pragma once
#include <cstdlib>
#include <string>

namespace weft::test {

/// While it lives, WEFT_NATIVE is `mode`; "wait": code is there when a compiled function runs a second time.
struct NativeMode {
  explicit NativeMode(const char* mode = "wait") { setenv("WEFT_NATIVE", mode, 1); }
  ~NativeMode() {
    if (was.empty())
      unsetenv("WEFT_NATIVE");
    else
      setenv("WEFT_NATIVE", was.c_str(), 1);
  }
  NativeMode(const NativeMode&) = delete;
  NativeMode& operator=(const NativeMode&) = delete;
  const std::string was = std::getenv("WEFT_NATIVE") ? std::getenv("WEFT_NATIVE") : "";
};

}  // namespace weft::test
