#pragma once

#include <functional>
#include <string>

#include "core/cuda.h"
#include "core/error.h"
#include "tests/catch.h"

// First line of a test that needs `n` devices: says why it does nothing where there are fewer.
#define NEED_DEVICES(n)                                                                         \
  if (weft::cuda::device_count() < (n)) {                                                       \
    WARN("needs " << (n) << " CUDA device(s), there are " << weft::cuda::device_count() << "; " \
                  << weft::cuda::why_unavailable());                                            \
    return;                                                                                     \
  }

namespace weft::gpu {

// What f throws, or "no error".
inline std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
inline bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace weft::gpu
