#include "optim/adam.h"

#include <algorithm>

#include "core/error.h"
#include "core/ops/optimizer_step.h"
#include "core/thread_state.h"

namespace weft::optim {

void Adam::add_param_group(std::vector<Tensor> params, const AdamOptions& o) {
  const char* name = o.decoupled_weight_decay ? "AdamW" : "Adam";
  WEFT_CHECK(o.lr >= 0, "{}: lr must not be negative, got {}", name, o.lr);
  WEFT_CHECK(o.eps >= 0, "{}: eps must not be negative, got {}", name, o.eps);
  WEFT_CHECK(o.weight_decay >= 0, "{}: weight_decay must not be negative, got {}", name, o.weight_decay);
  for (double b : o.betas) WEFT_CHECK(b >= 0 && b < 1, "{}: betas must lie in [0, 1), got {}", name, b);
  check_params(params, name);
  size_t n = params.size();
  groups_.push_back({std::move(params), o, std::vector<AdamState>(n)});
}

void Adam::step() {
  std::vector<Tensor> tensors;
  std::vector<int64_t> steps;
  for (Group& g : groups_) {
    const AdamOptions& o = g.options;
    steps.clear();
    for (size_t i = 0; i < g.params.size(); ++i) {
      if (!g.params[i].grad().defined()) continue;
      AdamState& s = g.state[i];
      if (!s.exp_avg.defined()) {
        s.exp_avg = detail::zeros_beside(g.params[i]);
        s.exp_avg_sq = detail::zeros_beside(g.params[i]);
      }
      if (o.amsgrad && !s.max_exp_avg_sq.defined()) s.max_exp_avg_sq = detail::zeros_beside(g.params[i]);
      ++s.step;
      if (std::find(steps.begin(), steps.end(), s.step) == steps.end()) steps.push_back(s.step);
    }
    // Parameters differ in their step count only when some had no gradient at times: one pass per count.
    for (int64_t step : steps) {
      tensors.clear();
      for (size_t i = 0; i < g.params.size(); ++i) {
        AdamState& s = g.state[i];
        if (s.step != step) continue;
        Tensor gradient = detail::gradient(g.params[i]);
        if (!gradient.defined()) continue;
        tensors.insert(tensors.end(), {g.params[i], gradient, s.exp_avg, s.exp_avg_sq});
        if (o.amsgrad) tensors.push_back(s.max_exp_avg_sq);
      }
      optimizer_step(AdamStepOp::record, tensors,
                     AdamStepOp::Attrs{o.lr, o.betas[0], o.betas[1], o.eps, o.weight_decay, step,
                                       o.decoupled_weight_decay, o.amsgrad, o.maximize});
    }
  }
}

Value Adam::state_dict() const {
  return detail::save_groups(
      groups_,
      [](const AdamOptions& o) {
        return Value::Dict{{"lr", o.lr},
                           {"betas", Value::tuple({o.betas[0], o.betas[1]})},
                           {"eps", o.eps},
                           {"weight_decay", o.weight_decay},
                           {"amsgrad", o.amsgrad},
                           {"maximize", o.maximize},
                           {"foreach", Value()},
                           {"capturable", false},
                           {"differentiable", false},
                           {"fused", Value()},
                           {"decoupled_weight_decay", o.decoupled_weight_decay}};
      },
      [](const Group& g, size_t i) {
        const AdamState& s = g.state[i];
        Value::Dict d;
        if (!s.exp_avg.defined()) return d;
        d.set("step", scalar_tensor(static_cast<double>(s.step), {.dtype = DType::f32, .device = DeviceType::cpu}));
        d.set("exp_avg", s.exp_avg);
        d.set("exp_avg_sq", s.exp_avg_sq);
        if (s.max_exp_avg_sq.defined()) d.set("max_exp_avg_sq", s.max_exp_avg_sq);
        return d;
      });
}

void Adam::load_state_dict(const Value& state) {
  std::vector<size_t> sizes;
  for (const Group& g : groups_) sizes.push_back(g.params.size());
  const auto& list = detail::check_groups(state, sizes);
  std::vector<Group> loaded = groups_;
  for (size_t k = 0; k < loaded.size(); ++k) {
    Group& g = loaded[k];
    const Value& d = list[k];
    AdamOptions o = g.options;
    o.lr = detail::number_of(d, "lr");
    const auto& betas = d.at("betas").as_list("betas");
    WEFT_CHECK(betas.size() == 2, "load_state_dict: betas has {} values", betas.size());
    o.betas = {betas[0].as_double("betas"), betas[1].as_double("betas")};
    o.eps = detail::number_of(d, "eps");
    o.weight_decay = detail::number_of(d, "weight_decay");
    o.amsgrad = d.at("amsgrad").as_bool("amsgrad");
    o.maximize = d.contains("maximize") && d.at("maximize").as_bool("maximize");
    g.options = o;
    for (size_t i = 0; i < g.params.size(); ++i) {
      g.state[i] = {};
      const Value* s = detail::state_of(state, d, i);
      if (!s) continue;
      const Value& step = s->at("step");
      g.state[i].step = step.is_tensor() ? step.as_tensor().item<int64_t>() : step.as_int("step");
      g.state[i].exp_avg = detail::loaded(s->at("exp_avg"), g.params[i], "exp_avg");
      g.state[i].exp_avg_sq = detail::loaded(s->at("exp_avg_sq"), g.params[i], "exp_avg_sq");
      if (const Value* top = s->find("max_exp_avg_sq"))
        g.state[i].max_exp_avg_sq = detail::loaded(*top, g.params[i], "max_exp_avg_sq");
    }
  }
  groups_ = std::move(loaded);
}

}  // namespace weft::optim
