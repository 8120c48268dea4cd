#pragma once
#include "tests/same_bits.h"
#include "weft.h"

namespace weft::test {

/// Two models of equal state, of which one trains compiled and the other eagerly, on the same inputs.
template <class Net, class Optimizer = optim::SGD>
class Twins {
 public:
  explicit Twins(const Tensor& x) : x_(x) { eager_.load_state_dict(compiled_.state_dict()); }
  /// To be compiled. Both give the loss.
  Tensor step() { return step(compiled_, own_); }
  Tensor eager_step() { return step(eager_, other_); }
  bool same_state() const {
    const auto other = eager_.state_dict();
    for (const auto& [name, p] : compiled_.state_dict())
      if (!same_bits(p, other.find(name)->detach())) return false;
    return true;
  }

 private:
  Tensor step(Net& net, Optimizer& optimizer) {
    optimizer.zero_grad();
    Tensor loss = net(x_).square().mean();
    loss.backward();
    optimizer.step();
    return loss.detach();
  }

  const Tensor x_;
  Net compiled_, eager_;
  Optimizer own_{compiled_.parameters(), {.lr = 1e-2}}, other_{eager_.parameters(), {.lr = 1e-2}};
};

}  // namespace weft::test
