#pragma once

#include "core/custom_source.h"
#include "core/deferral.h"

namespace weft::gpu {

/// Launches a user's own op, or a gradient of it: kernels compiled of its text (real/), or its loops for the host over
/// the memory of the emulation (emulate/).
void run_custom(const detail::PointwiseCall& call, const CustomOpSource& source);

}  // namespace weft::gpu
