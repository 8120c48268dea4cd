#include "nn/clip.h"

#include <cmath>

#include "autograd/backward_state.h"
#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/optimizer_step.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/shape.h"
#include "core/ops/statistics.h"
#include "core/thread_state.h"

namespace weft::nn::utils {

namespace {
std::vector<Tensor> gradients(const std::vector<Tensor>& parameters, const char* op) {
  std::vector<Tensor> out;
  for (const Tensor& p : parameters) {
    WEFT_CHECK(!autograd::has_scaled_grad(p),
               "{}: the gradient of {} is still multiplied by a GradScaler's scale; call scaler.unscale_(optimizer) "
               "before",
               op, p);
    if (Tensor g = p.grad(); g.defined()) out.push_back(g);
  }
  return out;
}
Tensor norm_of_norms(const std::vector<Tensor>& tensors, double norm_type) {
  // Outside autograd: the norms one by one have gradients.
  if (Tensor total; norm_type == 2 && !detail::needs_grad(tensors.data(), static_cast<int>(tensors.size())) &&
                    (total = total_norm(tensors)).defined())
    return total;
  std::vector<Tensor> norms;
  for (const Tensor& t : tensors) norms.push_back(norm(t, norm_type));
  for (Tensor& n : norms) n = n.to(norms[0].device());
  return norm(stack(norms), norm_type);
}
}  // namespace

Tensor get_total_norm(const std::vector<Tensor>& tensors, double norm_type, bool error_if_nonfinite) {
  std::vector<Tensor> defined;
  for (const Tensor& t : tensors)
    if (t.defined()) defined.push_back(t);
  if (defined.empty()) return scalar_tensor(0.0);
  const Tensor total = norm_of_norms(defined, norm_type);
  const weft::detail::HostRead read("error_if_nonfinite: the host looks at the norm");
  WEFT_CHECK(!error_if_nonfinite || std::isfinite(total.item<double>()),
             "get_total_norm: the norm of the tensors is {}; look for inf or NaN in the gradients",
             total.item<double>());
  return total;
}

Tensor clip_grad_norm_(const std::vector<Tensor>& parameters, double max_norm, const ClipGradNormOptions& o) {
  NoGrad guard;
  Tensor total = get_total_norm(gradients(parameters, "clip_grad_norm_"), o.norm_type, o.error_if_nonfinite);
  clip_grads_with_norm_(parameters, max_norm, total);
  return total;
}
void clip_grads_with_norm_(const std::vector<Tensor>& parameters, double max_norm, const Tensor& total_norm) {
  NoGrad guard;
  std::vector<Tensor> all = gradients(parameters, "clip_grads_with_norm_");
  if (scale_down(all, total_norm, max_norm)) return;
  // Multiplied even where the factor is 1, so that no value has to be read back from a device.
  Tensor factor = clamp(div(max_norm, total_norm.add(1e-6)), {}, 1.0);
  for (Tensor& g : all) g.mul_(factor.to(g.device()));
}
void clip_grad_value_(const std::vector<Tensor>& parameters, double clip_value) {
  WEFT_CHECK(clip_value >= 0, "clip_grad_value_: the limit is {}; it must not be negative", clip_value);
  NoGrad guard;
  for (Tensor& g : gradients(parameters, "clip_grad_value_")) g.clamp_(-clip_value, clip_value);
}

Tensor parameters_to_vector(const std::vector<Tensor>& parameters) {
  std::vector<Tensor> flat;
  for (const Tensor& p : parameters) flat.push_back(p.reshape({-1}));
  return cat(flat);
}
void vector_to_parameters(const Tensor& vector, const std::vector<Tensor>& parameters) {
  int64_t total = 0, at = 0;
  for (const Tensor& p : parameters) total += p.numel();
  WEFT_CHECK(vector.dim() == 1 && vector.numel() == total,
             "vector_to_parameters: {} for parameters of {} elements together", vector, total);
  NoGrad guard;
  for (const Tensor& p : parameters) {
    Tensor target = p;
    target.copy_(vector.slice(0, at, at + p.numel()).view(p.sizes()));
    at += p.numel();
  }
}

}  // namespace weft::nn::utils
