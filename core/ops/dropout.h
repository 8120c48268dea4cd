#pragma once
#include "core/dispatch.h"
#include "core/random.h"

// torch.nn.functional's dropouts. Masks are not kept: the gradient draws the same numbers again from the saved seed.
// Errors: p outside [0, 1].
namespace weft {

/// With probability p an element becomes 0, the others are divided by 1 - p. Not training, or p = 0: x itself.
Tensor dropout(const Tensor& x, double p = 0.5, bool training = true, Generator* generator = nullptr);
Tensor& dropout_(Tensor& x, double p = 0.5, bool training = true, Generator* generator = nullptr);
/// Whole channels: x [N, C, L] or [C, L]; [N, C, H, W]; [N, C, D, H, W].
Tensor dropout1d(const Tensor& x, double p = 0.5, bool training = true, Generator* generator = nullptr);
Tensor dropout2d(const Tensor& x, double p = 0.5, bool training = true, Generator* generator = nullptr);
Tensor dropout3d(const Tensor& x, double p = 0.5, bool training = true, Generator* generator = nullptr);
/// Keeps mean and variance of selu activations; feature_: whole channels.
Tensor alpha_dropout(const Tensor& x, double p = 0.5, bool training = false, Generator* generator = nullptr);
Tensor feature_alpha_dropout(const Tensor& x, double p = 0.5, bool training = false, Generator* generator = nullptr);
/// Leaky relu whose slope is drawn from [lower, upper] per element in training, their mean otherwise.
Tensor rrelu(const Tensor& x, double lower = 1.0 / 8, double upper = 1.0 / 3, bool training = false,
             Generator* generator = nullptr);

struct DropoutOp {
  struct Attrs {
    Generator::State state;
    double p;  ///< in (0, 1)
  };
  static const OpRecord record;
};

namespace detail {
/// dropout with given numbers; x is contiguous.
Tensor dropout_at(const Tensor& x, const DropoutOp::Attrs& a);
}  // namespace detail
namespace cpu {
void dropout(const OpCall& c);
}  // namespace cpu
namespace rules {
void dropout(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
