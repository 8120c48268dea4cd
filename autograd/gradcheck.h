#pragma once
#include <functional>
#include <vector>

#include "core/tensor.h"

// Gradients against differences (torch.autograd.gradcheck).
namespace weft {

struct GradcheckOptions {
  double eps = 1e-6;  ///< step of the central difference
  double atol = 1e-5;
  double rtol = 1e-3;
};

using TensorFunction = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

/// Compares d outputs / d inputs from backward with central differences, element by element, for the inputs (f64, no
/// shared addresses) that require grad. Throws weft::Error naming output, input, element and both values; else true.
bool gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, const GradcheckOptions& o = {});
/// The same for the gradients themselves, by the inputs and by the gradients of the outputs (default: fixed values in
/// [0.5, 1.5]).
bool gradgradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, std::vector<Tensor> grad_outputs = {},
                   const GradcheckOptions& o = {});

}  // namespace weft
