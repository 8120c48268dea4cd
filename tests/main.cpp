#include <cstdlib>
#include <iostream>
#include <memory>

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include "core/cuda.h"
#include "core/error.h"
#include "core/thread_state.h"

// WEFT_TEST_DEVICE=cuda: tensors that name no device are made there, so that a test of the CPU tests the device.
int main(int argc, char** argv) try {
  std::unique_ptr<weft::DefaultDevice> device;
  if (const char* name = std::getenv("WEFT_TEST_DEVICE")) {
    if (weft::Device(name).is_cuda() && !weft::cuda::is_available()) {
      std::cout << "skipped: no device: " << weft::cuda::why_unavailable() << '\n';
      return 77;
    }
    device = std::make_unique<weft::DefaultDevice>(name);
  }
  const int failed = Catch::Session().run(argc, argv);
  return failed == 77 ? 1 : failed;  // 77: skipped
} catch (const weft::Error& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
