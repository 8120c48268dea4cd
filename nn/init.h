#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "core/tensor.h"

// torch.nn.init: fill a tensor in place, without history, and return it. Random ones draw from `generator`, or from
// default_generator().
namespace weft::nn::init {

enum class FanMode : uint8_t { fan_in, fan_out };

Tensor& uniform_(Tensor& t, double a = 0, double b = 1, Generator* generator = nullptr);
Tensor& normal_(Tensor& t, double mean = 0, double std = 1, Generator* generator = nullptr);
/// Normal numbers, drawn from the part of the distribution inside [a, b].
Tensor& trunc_normal_(Tensor& t, double mean = 0, double std = 1, double a = -2, double b = 2,
                      Generator* generator = nullptr);
Tensor& constant_(Tensor& t, Scalar value);
Tensor& ones_(Tensor& t);
Tensor& zeros_(Tensor& t);
/// The identity matrix; 2 dimensions.
Tensor& eye_(Tensor& t);
/// The convolution that hands its channels on; 3 to 5 dimensions, per group.
Tensor& dirac_(Tensor& t, int64_t groups = 1);
/// Glorot: uniform in +- gain sqrt(6 / (fan_in + fan_out)); normal with deviation gain sqrt(2 / (fan_in + fan_out)).
Tensor& xavier_uniform_(Tensor& t, double gain = 1, Generator* generator = nullptr);
Tensor& xavier_normal_(Tensor& t, double gain = 1, Generator* generator = nullptr);

struct KaimingOptions {
  double a = 0;  ///< negative slope of the leaky_relu behind
  FanMode mode = FanMode::fan_in;
  std::string_view nonlinearity = "leaky_relu";
};
/// He: deviation gain / sqrt(fan); uniform in +- sqrt(3) times that.
Tensor& kaiming_uniform_(Tensor& t, const KaimingOptions& o = {}, Generator* generator = nullptr);
Tensor& kaiming_normal_(Tensor& t, const KaimingOptions& o = {}, Generator* generator = nullptr);
/// Orthonormal rows or columns (the fewer of the two; dimensions behind the first are flattened) times gain.
Tensor& orthogonal_(Tensor& t, double gain = 1, Generator* generator = nullptr);
/// Normal numbers, with the given part of every column zero; 2 dimensions.
Tensor& sparse_(Tensor& t, double sparsity, double std = 0.01, Generator* generator = nullptr);

/// The factor that keeps the deviation behind a nonlinearity: "linear", "conv2d", ..., "sigmoid", "tanh", "relu",
/// "selu", "leaky_relu" (param: its slope, default 0.01).
double calculate_gain(std::string_view nonlinearity, std::optional<double> param = {});
/// (fan_in, fan_out) of a weight [out, in, kernel...]; at least 2 dimensions.
std::pair<int64_t, int64_t> fan_in_and_fan_out(const Tensor& t);

}  // namespace weft::nn::init
