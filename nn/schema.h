#pragma once

namespace weft::nn {
/// Adds torch.nn.init and torch.nn.utils to the ops that weft::call knows ("nn.init.normal_",
/// "nn.utils.get_total_norm").
void register_schemas();
}  // namespace weft::nn
