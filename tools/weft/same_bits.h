#pragma once
#include <string>

#include "core/tensor.h"

namespace weft::tools {

/// Empty when both have the same dtype, sizes and bits, but any NaN equals any NaN; else what differs.
std::string differ(const Tensor& got, const Tensor& eager);

}  // namespace weft::tools
