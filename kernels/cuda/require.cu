#include "core/ops/require.h"

#include "kernels/cuda/fault.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/launch.h"

namespace weft::gpu {
namespace {

__global__ void report_false(const uint8_t* truth, long long number, FaultSite fault) {
  if (*truth == 0) fault.report(number);
}

}  // namespace

void require(const OpCall& c) {
  const auto& a = c.as<RequireOp::Attrs>();
  launch(report_false, 1, 1, 0, current_stream(), static_cast<const uint8_t*>(c.in[0].impl()->data), a.number,
         fault_site(a.fault, a.text, a.who));
}

}  // namespace weft::gpu
