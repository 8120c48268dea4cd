#pragma once
#include <string>

#include "core/tensor.h"

namespace weft {

/// Reads an IDX file, the format of MNIST: a tensor of the dtype (u8, i8, i16, i32, f32, f64) and the shape that its
/// header names. Compressed files (.gz) are recognised by their content. FileError for anything that is not right:
/// another format, a file that is truncated or goes on behind its end, a damaged compressed stream.
Tensor load_idx(const std::string& path);

}  // namespace weft
