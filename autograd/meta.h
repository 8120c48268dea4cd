#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace weft {

/// Autograd facts of a tensor that few tensors have.
struct AutogradMeta {
  Tensor grad;
  Node* accumulator = nullptr;  ///< of a leaf; weak: the graph owns it
  struct Hook {
    int64_t id;
    std::function<Tensor(const Tensor&)> call;
  };
  std::vector<Hook> hooks;  ///< of a leaf
  struct PostHook {
    int64_t id;
    std::function<void(const Tensor&)> call;
  };
  std::vector<PostHook> post_accumulate;
  bool retains_grad = false;
  const TensorImpl* scaled = nullptr;  ///< the gradient that a scaled loss made, and its version then
  uint32_t scaled_version = 0;
};

namespace autograd {
AutogradMeta& meta(const Tensor& t);  // made on first use
}
}  // namespace weft
