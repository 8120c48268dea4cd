#pragma once
#include <string>

namespace weft::detail {

/// The function that a return address of backtrace() lies in, with its program or library; "" when none is known.
/// Names appear for exported symbols only (CMake: ENABLE_EXPORTS).
std::string describe_frame(void* frame);

}  // namespace weft::detail
