#include <cmath>

#include "core/error.h"
#include "optim/adam.h"
#include "optim/schedule.h"
#include "optim/schedule_compose.h"
#include "optim/schedule_cycle.h"
#include "optim/schedule_plateau.h"
#include "optim/sgd.h"
#include "tools/weft/check.h"

namespace weft::check {
namespace {

using json = nlohmann::ordered_json;

double get(const json& kwargs, const char* key, double otherwise) {
  return kwargs.contains(key) ? number(kwargs[key]) : otherwise;
}
optim::PerGroup per_group(const json& kwargs, const char* key, const optim::PerGroup& otherwise) {
  if (!kwargs.contains(key)) return otherwise;
  if (kwargs[key].is_array()) return kwargs[key].get<std::vector<double>>();
  return number(kwargs[key]);
}
std::optional<int64_t> integer(const json& kwargs, const char* key) {
  return kwargs.contains(key) ? std::optional(kwargs[key].get<int64_t>()) : std::nullopt;
}

std::vector<optim::LrLambda> lambdas(const json& table) {
  std::vector<optim::LrLambda> out;
  for (const json& row : table)
    out.push_back([values = row.get<std::vector<double>>()](int64_t t) { return values.at(static_cast<size_t>(t)); });
  return out;
}

std::shared_ptr<optim::Scheduler> make_cycle(optim::Optimizer& o, const std::string& name, const json& k) {
  if (name == "CyclicLR") {
    optim::CyclicLROptions c;
    c.base_lr = per_group(k, "base_lr", c.base_lr);
    c.max_lr = per_group(k, "max_lr", c.max_lr);
    c.step_size_up = k.value("step_size_up", c.step_size_up);
    c.step_size_down = k.value("step_size_down", c.step_size_down);
    c.mode = k.value("mode", c.mode);
    c.gamma = get(k, "gamma", c.gamma);
    c.cycle_momentum = k.value("cycle_momentum", c.cycle_momentum);
    c.base_momentum = per_group(k, "base_momentum", c.base_momentum);
    c.max_momentum = per_group(k, "max_momentum", c.max_momentum);
    return std::make_shared<optim::CyclicLR>(o, c);
  }
  optim::OneCycleLROptions c;
  c.max_lr = per_group(k, "max_lr", c.max_lr);
  c.total_steps = integer(k, "total_steps");
  c.epochs = integer(k, "epochs");
  c.steps_per_epoch = integer(k, "steps_per_epoch");
  c.pct_start = get(k, "pct_start", c.pct_start);
  c.anneal_strategy = k.value("anneal_strategy", c.anneal_strategy);
  c.cycle_momentum = k.value("cycle_momentum", c.cycle_momentum);
  c.base_momentum = per_group(k, "base_momentum", c.base_momentum);
  c.max_momentum = per_group(k, "max_momentum", c.max_momentum);
  c.div_factor = get(k, "div_factor", c.div_factor);
  c.final_div_factor = get(k, "final_div_factor", c.final_div_factor);
  c.three_phase = k.value("three_phase", c.three_phase);
  return std::make_shared<optim::OneCycleLR>(o, c);
}

std::shared_ptr<optim::Scheduler> make_plateau(optim::Optimizer& o, const json& k) {
  optim::ReduceLROnPlateauOptions p;
  p.mode = k.value("mode", p.mode);
  p.factor = get(k, "factor", p.factor);
  p.patience = k.value("patience", p.patience);
  p.threshold = get(k, "threshold", p.threshold);
  p.threshold_mode = k.value("threshold_mode", p.threshold_mode);
  p.cooldown = k.value("cooldown", p.cooldown);
  p.min_lr = per_group(k, "min_lr", p.min_lr);
  p.eps = get(k, "eps", p.eps);
  return std::make_shared<optim::ReduceLROnPlateau>(o, p);
}

std::unique_ptr<optim::Optimizer> make_optimizer(const json& c) {
  const json kwargs = c.value("kwargs", json::object());
  std::unique_ptr<optim::Optimizer> made;
  for (const json& group : c.at("groups")) {
    std::vector<Tensor> params = {zeros({1}, {.requires_grad = true})};
    const double lr = group.at("lr");
    if (c.at("name") == "SGD") {
      const optim::SGDOptions o{.lr = lr, .momentum = get(kwargs, "momentum", 0)};
      if (made)
        static_cast<optim::SGD&>(*made).add_param_group(params, o);
      else
        made = std::make_unique<optim::SGD>(params, o);
    } else {
      WEFT_CHECK(c.at("name") == "AdamW", "optimizer {} is unknown", c.at("name").get<std::string>());
      if (made)
        static_cast<optim::AdamW&>(*made).add_param_group(params, {.lr = lr});
      else
        made = std::make_unique<optim::AdamW>(params, optim::AdamWOptions{.lr = lr});
    }
  }
  return made;
}

Value to_value(const json& j) {
  if (j.is_boolean()) return j.get<bool>();
  if (j.is_number_integer()) return j.get<int64_t>();
  if (j.is_number() || (j.is_object() && j.contains("float"))) return number(j);
  if (j.is_string()) return j.get<std::string>();
  if (j.is_array()) {
    Value::List list;
    for (const json& e : j) list.push_back(to_value(e));
    return Value::list(std::move(list));
  }
  Value out = j.is_object() ? Value::dict() : Value();
  if (j.is_object())
    for (const auto& [key, v] : j.items()) {
      const bool digits = !key.empty() && std::isdigit(static_cast<unsigned char>(key[0]));
      out.set(digits ? Value(std::stoll(key)) : Value(key), to_value(v));
    }
  return out;
}

bool is_near(double got, double want, const json& c) {
  return got == want || std::fabs(got - want) <= number(c.at("atol")) + number(c.at("rtol")) * std::fabs(want);
}

// Every entry of `want` is in `got`, which may hold more.
std::string compare_states(const Value& got, const Value& want, const json& c, const std::string& at) {
  if (want.is_dict()) {
    for (const auto& [key, w] : want.as_dict()) {
      const Value* g = got.find(key);
      if (!g) return at + ": no entry " + key.str();
      if (std::string s = compare_states(*g, w, c, at + "." + key.str()); !s.empty()) return s;
    }
    return {};
  }
  if (want.is_list()) {
    if (got.size() != want.size()) return at + ": want a list of " + std::to_string(want.size());
    for (size_t i = 0; i < want.size(); ++i)
      if (std::string s = compare_states(got.as_list()[i], want.as_list()[i], c, at + "[" + std::to_string(i) + "]");
          !s.empty())
        return s;
    return {};
  }
  const bool numbers = got.is_scalar() && want.is_scalar() && !got.is_bool() && !want.is_bool();
  if (numbers ? is_near(got.as_double(), want.as_double(), c) : got == want) return {};
  return at + ": is " + got.str() + ", want " + want.str();
}

/// An optimizer under its scheduler, and how the case steps it.
class Run {
 public:
  explicit Run(const json& c) : case_(c), optimizer_(make_optimizer(c.at("optimizer"))) {
    scheduler_ = make_scheduler(*optimizer_, c);
  }
  void step(size_t i) {
    if (case_.contains("metrics"))
      dynamic_cast<optim::ReduceLROnPlateau&>(*scheduler_).step(number(case_["metrics"][i]));
    else if (case_.contains("epochs"))
      dynamic_cast<optim::CosineAnnealingWarmRestarts&>(*scheduler_).step(number(case_["epochs"][i]));
    else
      scheduler_->step();
  }
  /// Rates and momentums after `i` steps.
  std::string compare(size_t i, bool momentums) const {
    for (const char* what : {"lrs", "momentums"}) {
      if (!case_.contains(what) || (what[0] == 'm' && !momentums)) continue;
      const json& want = case_[what][i];
      for (size_t g = 0; g < want.size(); ++g) {
        const double got = what[0] == 'l' ? optimizer_->lr(g) : optimizer_->momentum(g).value_or(NAN);
        if (is_near(got, number(want[g]), case_)) continue;
        return detail::format("{} after {} steps, group {}: {}, want {}", {what, i, g, got, number(want[g])});
      }
    }
    return {};
  }
  bool same_as(const Run& other) const {
    for (size_t g = 0; g < optimizer_->group_count(); ++g)
      if (optimizer_->lr(g) != other.optimizer_->lr(g) || optimizer_->momentum(g) != other.optimizer_->momentum(g))
        return false;
    return true;
  }
  Value state() const { return {{"optimizer", optimizer_->state_dict()}, {"scheduler", scheduler_->state_dict()}}; }
  void load(const Value& state) {
    if (const Value* o = state.find("optimizer")) optimizer_->load_state_dict(*o);
    scheduler_->load_state_dict(state["scheduler"]);
  }

 private:
  const json& case_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::shared_ptr<optim::Scheduler> scheduler_;
};

std::string run(const json& c) {
  Run whole(c);
  if (!c.contains("lrs")) return {};
  const size_t steps = c.at("steps"), saved_at = 20;
  std::vector<Value> states = {whole.state()};
  if (std::string s = whole.compare(0, true); !s.empty()) return s;
  for (size_t i = 1; i <= steps; ++i) {
    whole.step(i - 1);
    if (std::string s = whole.compare(i, true); !s.empty()) return s;
    states.push_back(whole.state());
  }
  const Value theirs = to_value(c.at("state_dict_after_20"));
  if (std::string s = compare_states(states.at(saved_at)["scheduler"], theirs, c, "state_dict"); !s.empty()) return s;
  for (size_t k = 0; k < steps; k += 7) {  // from our own states: the same bits
    Run again(c), reference(c);
    for (size_t i = 0; i < k; ++i) reference.step(i);
    again.load(states[k]);
    for (size_t i = k; i <= steps; ++i) {
      if (!again.same_as(reference)) return detail::format("resumed after {} steps: differs after {}", {k, i});
      if (i == steps) break;
      again.step(i);
      reference.step(i);
    }
  }
  Run from_theirs(c);
  from_theirs.load({{"scheduler", theirs}});
  for (size_t i = saved_at; i <= steps; ++i) {
    // PyTorch saves the momentum with the optimizer.
    if (std::string s = from_theirs.compare(i, i > saved_at); !s.empty()) return "resumed from PyTorch's state: " + s;
    if (i < steps) from_theirs.step(i);
  }
  return {};
}

}  // namespace

std::shared_ptr<optim::Scheduler> make_scheduler(optim::Optimizer& o, const json& c) {
  const std::string name = c.at("scheduler");
  const json k = c.value("kwargs", json::object());
  const auto whole = [&](const char* key, int64_t otherwise) { return k.value(key, otherwise); };
  if (name == "LambdaLR") return std::make_shared<optim::LambdaLR>(o, lambdas(c.at("table")));
  if (name == "MultiplicativeLR") return std::make_shared<optim::MultiplicativeLR>(o, lambdas(c.at("table")));
  if (name == "StepLR") return std::make_shared<optim::StepLR>(o, whole("step_size", 0), get(k, "gamma", 0.1));
  if (name == "MultiStepLR")
    return std::make_shared<optim::MultiStepLR>(o, k.at("milestones").get<std::vector<int64_t>>(),
                                                get(k, "gamma", 0.1));
  if (name == "ConstantLR")
    return std::make_shared<optim::ConstantLR>(o, get(k, "factor", 1.0 / 3), whole("total_iters", 5));
  if (name == "LinearLR")
    return std::make_shared<optim::LinearLR>(o, optim::LinearLROptions{.start_factor = get(k, "start_factor", 1.0 / 3),
                                                                       .end_factor = get(k, "end_factor", 1),
                                                                       .total_iters = whole("total_iters", 5)});
  if (name == "ExponentialLR") return std::make_shared<optim::ExponentialLR>(o, get(k, "gamma", 1));
  if (name == "PolynomialLR")
    return std::make_shared<optim::PolynomialLR>(o, whole("total_iters", 5), get(k, "power", 1));
  if (name == "CosineAnnealingLR")
    return std::make_shared<optim::CosineAnnealingLR>(o, whole("T_max", 0), get(k, "eta_min", 0));
  if (name == "CosineAnnealingWarmRestarts")
    return std::make_shared<optim::CosineAnnealingWarmRestarts>(o, whole("T_0", 0), whole("T_mult", 1),
                                                                get(k, "eta_min", 0));
  if (name == "CyclicLR" || name == "OneCycleLR") return make_cycle(o, name, k);
  if (name == "ReduceLROnPlateau") return make_plateau(o, k);
  WEFT_CHECK(name == "ChainedScheduler" || name == "SequentialLR", "scheduler {} is unknown", name);
  optim::Schedulers parts;
  for (const json& part : c.at("schedulers")) parts.push_back(make_scheduler(o, part));
  if (name == "ChainedScheduler") return std::make_shared<optim::ChainedScheduler>(parts);
  return std::make_shared<optim::SequentialLR>(o, parts, c.at("milestones").get<std::vector<int64_t>>());
}

Outcome run_lr_scheduler_case(const CaseFile&, const json& c) {
  const bool error = c.value("error", false);
  try {
    const std::string s = run(c);
    if (error) return {Outcome::Kind::failed, "no error; PyTorch says: " + c.value("torch_message", "")};
    return s.empty() ? Outcome() : Outcome{Outcome::Kind::failed, s};
  } catch (const InternalError& e) {
    return {Outcome::Kind::failed, e.what()};
  } catch (const Error& e) {
    return error ? Outcome() : Outcome{Outcome::Kind::failed, e.what()};
  }
}

}  // namespace weft::check
