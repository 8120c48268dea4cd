#pragma once

namespace weft::gpu {

/// WEFT_CUDA_BLOCKING is set: every launch waits for its end.
bool blocking();

/// Throws the error that a kernel has reported (fault.h), and forgets it. Where launches block, one of another thread's
/// kernel is left to that thread, whose op it is.
void check_faults();

}  // namespace weft::gpu
