#pragma once
#include "core/cuda.h"
#include "core/storage.h"
#include "core/thread_state.h"

// For tests that hold on every device: they run once more with the default device of WEFT_TEST_DEVICE (tests/main.cpp).
namespace weft::test {

/// Of the tensors on the default device.
inline MemoryStats device_memory() {
  return default_device().is_cuda() ? cuda::memory_stats(default_device().index) : memory_stats();
}
inline void reset_device_peak() {
  default_device().is_cuda() ? cuda::reset_peak_memory_stats(default_device().index) : reset_peak_memory_stats();
}

/// `text` with the name of the default device for every " cpu".
inline std::string here(std::string text) {
  const std::string cpu = " cpu", name = " " + default_device().str();
  for (size_t at = 0; (at = text.find(cpu, at)) != std::string::npos; at += name.size())
    text.replace(at, cpu.size(), name);
  return text;
}

}  // namespace weft::test
