#include "autograd/gradcheck.h"

#include <cmath>
#include <string>

#include "autograd/autograd.h"
#include "core/device_backend.h"
#include "core/error.h"

namespace weft {
namespace {

Dims place_of(int64_t element, const Dims& sizes) {
  Dims at = sizes;
  for (int d = sizes.size() - 1; d >= 0; --d) {
    at[d] = element % sizes[d];
    element /= sizes[d];
  }
  return at;
}

// One f64 of a tensor in memory, whose version stays.
class Element {
 public:
  Element(const Tensor& x, int64_t element) : device_(x.device()) {
    WEFT_CHECK_TYPE(x.dtype() == DType::f64, "gradcheck: {} has another dtype than DType::f64", x);
    const Dims at = place_of(element, x.sizes());
    int64_t offset = 0;
    for (int d = 0; d < x.dim(); ++d) offset += at[d] * x.strides()[d];
    at_ = static_cast<double*>(x.data_ptr()) + offset;
  }
  double get() const {
    double value = 0;
    copy(&value, Device(), at_, device_);
    return value;
  }
  void set(double value) const { copy(at_, device_, &value, Device()); }

 private:
  static void copy(double* to, Device to_device, const double* from, Device from_device) {
    const Device device = to_device.is_cpu() ? from_device : to_device;
    if (device.is_cpu())
      *to = *from;
    else
      detail::need_cuda(device, "gradcheck").copy(to, to_device, from, from_device, sizeof(double), true);
  }
  Device device_;
  double* at_;
};

double value_of(const Tensor& x, int64_t element) { return x.defined() ? Element(x, element).get() : 0.0; }

// The floating outputs, detached.
std::vector<Tensor> values(const TensorFunction& f, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> out = f(inputs);
  for (Tensor& t : out) t = t.detach().clone();
  return out;
}

}  // namespace

bool gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, const GradcheckOptions& o) {
  std::vector<Tensor> wanted;
  std::vector<size_t> index;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined() || !inputs[i].requires_grad()) continue;
    WEFT_CHECK_TYPE(inputs[i].dtype() == DType::f64, "gradcheck: input {} is {}; differences need DType::f64", i,
                    inputs[i]);
    WEFT_CHECK(!detail::overlaps_itself(inputs[i].sizes(), inputs[i].strides()),
               "gradcheck: elements of input {} {} share an address; clone() it", i, inputs[i]);
    wanted.push_back(inputs[i]);
    index.push_back(i);
  }
  WEFT_CHECK(!wanted.empty(), "gradcheck: no input requires grad");
  std::vector<Tensor> outputs = f(inputs);
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!outputs[k].requires_grad()) continue;
    WEFT_CHECK_TYPE(outputs[k].dtype() == DType::f64, "gradcheck: output {} is {}; differences need DType::f64", k,
                    outputs[k]);
    // analytic[j][i]: gradient of element j of the output by input i
    std::vector<std::vector<Tensor>> analytic;
    for (int64_t j = 0; j < outputs[k].numel(); ++j) {
      Tensor one = zeros(outputs[k].sizes(), {.dtype = DType::f64, .device = outputs[k].device()});
      Element(one, j).set(1);
      analytic.push_back(
          grad({outputs[k]}, wanted, {.grad_outputs = {one}, .retain_graph = true, .allow_unused = true}));
    }
    for (size_t i = 0; i < wanted.size(); ++i)
      for (int64_t e = 0; e < wanted[i].numel(); ++e) {
        const Element x(wanted[i], e);
        const double before = x.get();
        x.set(before + o.eps);
        Tensor high = values(f, inputs)[k];
        x.set(before - o.eps);
        Tensor low = values(f, inputs)[k];
        x.set(before);
        for (int64_t j = 0; j < outputs[k].numel(); ++j) {
          double numeric = (value_of(high, j) - value_of(low, j)) / (2 * o.eps);
          double exact = value_of(analytic[static_cast<size_t>(j)][i], e);
          bool near = std::abs(numeric - exact) <= o.atol + o.rtol * std::abs(numeric);
          WEFT_CHECK(near,
                     "gradcheck: gradient of output {} element {} by input {} element {} is {}, differences give {}", k,
                     place_of(j, outputs[k].sizes()), index[i], place_of(e, wanted[i].sizes()), exact, numeric);
        }
      }
  }
  return true;
}

bool gradgradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, std::vector<Tensor> grad_outputs,
                   const GradcheckOptions& o) {
  std::vector<Tensor> outputs = f(inputs);
  std::vector<size_t> used;
  for (size_t k = 0; k < outputs.size(); ++k)
    if (outputs[k].requires_grad()) used.push_back(k);
  if (grad_outputs.empty()) {
    uint32_t state = 1;
    for (size_t k : used) {
      Tensor g = zeros(outputs[k].sizes(), {.dtype = outputs[k].dtype(), .device = outputs[k].device()});
      for (int64_t j = 0; j < g.numel(); ++j)
        Element(g, j).set(0.5 + ((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-24);
      grad_outputs.push_back(g.set_requires_grad(true));
    }
  }
  WEFT_CHECK(grad_outputs.size() == used.size(), "gradgradcheck: {} gradients for {} outputs that require grad",
             grad_outputs.size(), used.size());
  std::vector<Tensor> all = inputs;
  all.insert(all.end(), grad_outputs.begin(), grad_outputs.end());
  const size_t n = inputs.size();
  TensorFunction gradients = [&](const std::vector<Tensor>& x) {
    std::vector<Tensor> in(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n)), wanted, from;
    std::vector<Tensor> out = f(in);
    for (size_t k : used) from.push_back(out[k]);
    for (const Tensor& t : in)
      if (t.defined() && t.requires_grad()) wanted.push_back(t);
    std::vector<Tensor> given(x.begin() + static_cast<std::ptrdiff_t>(n), x.end());
    std::vector<Tensor> g = grad(from, wanted, {.grad_outputs = given, .create_graph = true, .allow_unused = true});
    for (size_t i = 0; i < g.size(); ++i)
      if (!g[i].defined()) g[i] = zeros_like(wanted[i]);
    return g;
  };
  return gradcheck(gradients, all, o);
}

}  // namespace weft
