#pragma once
#include "nn/module.h"

// What the layers share.
namespace weft::nn::detail {
/// Uniform in +- 1 / sqrt(fan): PyTorch's default for biases.
void uniform_of_fan(Tensor& t, int64_t fan);
/// As "%g" prints it.
std::string short_number(double v);
constexpr const char* python_bool(bool b) { return b ? "True" : "False"; }
}  // namespace weft::nn::detail
