#include "optim/sgd.h"

#include "core/error.h"
#include "core/ops/optimizer_step.h"

namespace weft::optim {

void SGD::add_param_group(std::vector<Tensor> params, const SGDOptions& o) {
  WEFT_CHECK(o.lr >= 0, "SGD: lr must not be negative, got {}", o.lr);
  WEFT_CHECK(o.momentum >= 0, "SGD: momentum must not be negative, got {}", o.momentum);
  WEFT_CHECK(o.weight_decay >= 0, "SGD: weight_decay must not be negative, got {}", o.weight_decay);
  WEFT_CHECK(!o.nesterov || (o.momentum > 0 && o.dampening == 0),
             "SGD: nesterov needs a momentum and no dampening, got {} and {}", o.momentum, o.dampening);
  check_params(params, "SGD");
  size_t n = params.size();
  groups_.push_back({std::move(params), o, std::vector<Tensor>(n)});
}

void SGD::step() {
  std::vector<Tensor> tensors;
  for (Group& g : groups_) {
    const SGDOptions& o = g.options;
    // Parameters whose momentum buffer is new take their gradient as it is: they go apart.
    for (bool first : {false, true}) {
      tensors.clear();
      for (size_t i = 0; i < g.params.size(); ++i) {
        if (first != (o.momentum != 0 && !g.state[i].defined())) continue;
        Tensor gradient = detail::gradient(g.params[i]);
        if (!gradient.defined()) continue;
        tensors.push_back(g.params[i]);
        tensors.push_back(gradient);
        if (o.momentum == 0) continue;
        if (first) g.state[i] = empty_like(g.params[i].detach());
        tensors.push_back(g.state[i]);
      }
      if (!tensors.empty())
        optimizer_step(SgdStepOp::record, tensors,
                       SgdStepOp::Attrs{o.lr, o.momentum, o.dampening, o.weight_decay, o.nesterov, o.maximize, first});
      if (o.momentum == 0) break;
    }
  }
}

Value SGD::state_dict() const {
  return detail::save_groups(
      groups_,
      [](const SGDOptions& o) {
        return Value::Dict{{"lr", o.lr},
                           {"momentum", o.momentum},
                           {"dampening", o.dampening},
                           {"weight_decay", o.weight_decay},
                           {"nesterov", o.nesterov},
                           {"maximize", o.maximize},
                           {"foreach", Value()},
                           {"differentiable", false},
                           {"fused", Value()}};
      },
      [](const Group& g, size_t i) {
        return g.state[i].defined() ? Value::Dict{{"momentum_buffer", g.state[i]}} : Value::Dict();
      });
}

void SGD::load_state_dict(const Value& state) {
  std::vector<size_t> sizes;
  for (const Group& g : groups_) sizes.push_back(g.params.size());
  const auto& list = detail::check_groups(state, sizes);
  std::vector<Group> loaded = groups_;
  for (size_t k = 0; k < loaded.size(); ++k) {
    Group& g = loaded[k];
    const Value& d = list[k];
    g.options = {.lr = detail::number_of(d, "lr"),
                 .momentum = detail::number_of(d, "momentum"),
                 .dampening = detail::number_of(d, "dampening"),
                 .weight_decay = detail::number_of(d, "weight_decay"),
                 .nesterov = d.at("nesterov").as_bool("nesterov"),
                 .maximize = d.contains("maximize") && d.at("maximize").as_bool("maximize")};
    for (size_t i = 0; i < g.params.size(); ++i) {
      const Value* s = detail::state_of(state, d, i);
      const Value* buffer = s ? s->find("momentum_buffer") : nullptr;
      g.state[i] = buffer && !buffer->is_none() ? detail::loaded(*buffer, g.params[i], "momentum_buffer") : Tensor();
    }
  }
  groups_ = std::move(loaded);
}

}  // namespace weft::optim
