// The libraries against weft's own kernels: on a real device only.
#include <cstdio>

#include "kernels/cuda/dnn.h"
#include "tests/cuda/need_device.h"

namespace {

using namespace weft;

TEST_CASE("cuDNN agrees with the kernels that stand in for it", "[cudnn]") {
  NEED_DEVICES(1);
  const std::string report = gpu::dnn::dnn_self_test();
  std::fputs(report.c_str(), stdout);
  CHECK_FALSE(gpu::has(report, "FAILED"));
  CHECK_FALSE(gpu::has(report, "NOT the same bits"));
}

}  // namespace
