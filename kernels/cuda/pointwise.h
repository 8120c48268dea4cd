#pragma once

namespace weft::gpu {

/// Gives every pointwise record its kernels for devices.
void install_pointwise();

}  // namespace weft::gpu
