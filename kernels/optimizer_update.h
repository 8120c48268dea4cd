#pragma once

#include <cmath>

#include "core/ops/math.h"
#include "core/ops/optimizer_step.h"

// The updates of one element: one text for the CPU's loops and for devices.
namespace weft::optimizer {

/// What the host computes once per call.
template <class T>
struct Sgd {
  T lr, decay, sign, keep, take, straight, scale;

  explicit Sgd(const SgdStepOp::Attrs& a)
      : lr(static_cast<T>(a.lr)),
        decay(static_cast<T>(a.weight_decay)),
        sign(a.maximize ? T(-1) : T(1)),
        keep(a.first ? T(0) : static_cast<T>(a.momentum)),
        take(a.first ? T(1) : static_cast<T>(1 - a.dampening)),
        straight(a.nesterov ? T(1) : T(0)),
        scale(a.nesterov ? static_cast<T>(a.momentum) : T(1)) {}

  WEFT_FN T plain(T p, T g) const { return p - lr * (sign * g + decay * p); }
  /// The parameter; `buffer` is read unless keep is 0, and set.
  WEFT_FN T with_momentum(T p, T g, T& buffer) const {
    const T gradient = sign * g + decay * p;
    buffer = keep == T(0) ? take * gradient : keep * buffer + take * gradient;
    return p - lr * (straight * gradient + scale * buffer);
  }
};

template <class T>
struct Adam {
  T step_size, bias2_root, eps, take1, keep2, take2, shrink, decay, sign;

  explicit Adam(const AdamStepOp::Attrs& a)
      : step_size(static_cast<T>(a.lr / (1 - std::pow(a.beta1, static_cast<double>(a.step))))),
        bias2_root(static_cast<T>(std::sqrt(1 - std::pow(a.beta2, static_cast<double>(a.step))))),
        eps(static_cast<T>(a.eps)),
        take1(static_cast<T>(1 - a.beta1)),
        keep2(static_cast<T>(a.beta2)),
        take2(static_cast<T>(1 - a.beta2)),
        shrink(a.decoupled ? static_cast<T>(1 - a.lr * a.weight_decay) : T(1)),
        decay(a.decoupled ? T(0) : static_cast<T>(a.weight_decay)),
        sign(a.maximize ? T(-1) : T(1)) {}

  /// m and v after the step.
  WEFT_FN void moments(T p, T g, T& m, T& v) const {
    const T gradient = sign * g + decay * p;
    m = m + (gradient - m) * take1;
    v = keep2 * v + take2 * (gradient * gradient);
  }
  WEFT_FN T parameter(T p, T m, T v) const { return p * shrink - step_size * (m / (math::sqrt(v) / bias2_root + eps)); }
};

}  // namespace weft::optimizer
