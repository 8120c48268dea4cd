#pragma once
#include <vector>

#include "core/tensor.h"

// torch.nn.utils: gradients as a whole, parameters as one vector. To clip gradients of a loss that a GradScaler scaled,
// before scaler.unscale_(optimizer), is an error.
namespace weft::nn::utils {

struct ClipGradNormOptions {
  double norm_type = 2;  ///< may be infinity
  bool error_if_nonfinite = false;
};
/// The norm of all elements of all tensors (undefined ones are skipped); a 0-dim tensor, 0 without tensors.
Tensor get_total_norm(const std::vector<Tensor>& tensors, double norm_type = 2, bool error_if_nonfinite = false);
/// Scales the gradients in place so that their total norm is at most max_norm; the norm before. On a device nothing is
/// read back (but for error_if_nonfinite), and 2-norms take a few launches for all gradients together.
Tensor clip_grad_norm_(const std::vector<Tensor>& parameters, double max_norm, const ClipGradNormOptions& o = {});
/// Scales the gradients in place by max_norm / (total_norm + 1e-6), if that is below 1.
void clip_grads_with_norm_(const std::vector<Tensor>& parameters, double max_norm, const Tensor& total_norm);
/// Limits every element of the gradients to [-clip_value, clip_value].
void clip_grad_value_(const std::vector<Tensor>& parameters, double clip_value);

/// All elements of all parameters, one behind the other.
Tensor parameters_to_vector(const std::vector<Tensor>& parameters);
/// The reverse, in place; `vector` has as many elements as the parameters together.
void vector_to_parameters(const Tensor& vector, const std::vector<Tensor>& parameters);

}  // namespace weft::nn::utils
