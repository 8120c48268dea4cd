#pragma once

namespace weft::gpu {

/// Throws the error that a kernel has reported (fault.h), and forgets it.
void check_faults();

}  // namespace weft::gpu
