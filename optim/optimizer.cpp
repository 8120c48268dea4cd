#include "optim/optimizer.h"

#include "autograd/backward_state.h"
#include "core/error.h"
#include "core/thread_state.h"

namespace weft::optim {

void Optimizer::zero_grad(bool set_to_none) {
  for (size_t g = 0; g < group_count(); ++g)
    for (Tensor p : params(g)) {
      Tensor grad = p.grad();
      if (!grad.defined()) continue;
      if (set_to_none) {
        p.set_grad(Tensor());
      } else if (grad.requires_grad()) {
        p.set_grad(zeros_like(grad.detach()));
      } else {
        NoGrad guard;
        grad.zero_();
      }
    }
}

double Optimizer::initial_lr(size_t group) {
  if (initial_lrs_.size() <= group) initial_lrs_.resize(group + 1);
  if (!initial_lrs_[group]) initial_lrs_[group] = lr(group);
  return *initial_lrs_[group];
}
void Optimizer::set_initial_lr(size_t group, double lr) {
  if (initial_lrs_.size() <= group) initial_lrs_.resize(group + 1);
  initial_lrs_[group] = lr;
}

void Optimizer::check_params(const std::vector<Tensor>& given, const char* name) const {
  for (size_t i = 0; i < given.size(); ++i) {
    const Tensor& p = given[i];
    WEFT_CHECK(p.defined(), "{}: parameter {} is an undefined tensor", name, i);
    WEFT_CHECK(p.is_leaf(), "{}: parameter {} ({}) is the result of an op, not a leaf", name, i, p);
    WEFT_CHECK_TYPE(is_floating(p.dtype()), "{}: parameter {} is {}; only floating tensors are optimised", name, i, p);
    for (size_t j = 0; j < i; ++j) WEFT_CHECK(!given[j].is_same(p), "{}: parameter {} appears twice", name, i);
    for (size_t g = 0; g < group_count(); ++g)
      for (const Tensor& other : params(g))
        WEFT_CHECK(!other.is_same(p), "{}: parameter {} is in another group already", name, i);
  }
}

namespace detail {

Tensor gradient(const Tensor& p) {
  Tensor g = p.grad();
  if (!g.defined()) return g;
  WEFT_CHECK(!autograd::has_scaled_grad(p),
             "step: the gradient of {} is still multiplied by a GradScaler's scale; call scaler.step(optimizer)", p);
  g = g.detach();
  if (g.strides() == p.strides()) return g;
  NoGrad guard;
  return empty_strided(p.sizes(), p.strides(), {.dtype = p.dtype(), .device = p.device()}).copy_(g);
}

Tensor zeros_beside(const Tensor& p) {
  NoGrad guard;
  return zeros_like(p.detach());
}

Tensor loaded(const Value& v, const Tensor& p, const std::string& name) {
  const Tensor& t = v.as_tensor(name);
  WEFT_CHECK(t.sizes() == p.sizes(), "load_state_dict: {} is {} for a parameter {}", name, t, p);
  NoGrad guard;
  return empty_like(p.detach()).copy_(t.detach());
}

const Value::List& check_groups(const Value& state, const std::vector<size_t>& sizes) {
  WEFT_CHECK(state.is_dict() && state.contains("state") && state.contains("param_groups"),
             "load_state_dict: needs the keys state and param_groups");
  const auto& list = state.at("param_groups").as_list("param_groups");
  WEFT_CHECK(list.size() == sizes.size(), "load_state_dict: {} parameter groups saved, the optimizer has {}",
             list.size(), sizes.size());
  for (size_t g = 0; g < sizes.size(); ++g) {
    size_t saved = list[g].at("params").as_list("params").size();
    WEFT_CHECK(saved == sizes[g], "load_state_dict: group {} was saved with {} parameters, the optimizer has {}", g,
               saved, sizes[g]);
  }
  return list;
}

const Value* state_of(const Value& state, const Value& group, size_t i) {
  const int64_t index = group.at("params").as_list("params")[i].as_int("params");
  const Value& all = state.at("state");
  const Value* s = all.find(index);
  return s ? s : all.find(std::to_string(index));
}

double number_of(const Value& group, const char* name) {
  const Value& v = group.at(name);
  return v.is_tensor() ? v.as_tensor().item<double>() : v.as_double(name);
}

}  // namespace detail
}  // namespace weft::optim
