#include "core/error.h"
#include "core/thread_state.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tools/weft/check.h"

namespace weft::check {
namespace {

using json = nlohmann::ordered_json;

// Options of a group: the case's kwargs, the group's own on top.
json merged(const json& c, const json& group) {
  json o = c.value("kwargs", json::object());
  if (group.contains("kwargs"))
    for (const auto& [key, value] : group["kwargs"].items()) o[key] = value;
  return o;
}

template <class O>
void common(const json& j, O& o) {
  o.lr = j.value("lr", o.lr);
  o.weight_decay = j.value("weight_decay", o.weight_decay);
  o.maximize = j.value("maximize", o.maximize);
}
optim::SGDOptions sgd_options(const json& j) {
  optim::SGDOptions o;
  common(j, o);
  o.momentum = j.value("momentum", o.momentum);
  o.dampening = j.value("dampening", o.dampening);
  o.nesterov = j.value("nesterov", o.nesterov);
  return o;
}
template <class O>
O adam_options(const json& j) {
  O o;
  common(j, o);
  if (j.contains("betas")) o.betas = {j["betas"][0].get<double>(), j["betas"][1].get<double>()};
  o.eps = j.value("eps", o.eps);
  o.amsgrad = j.value("amsgrad", o.amsgrad);
  return o;
}

using Params = std::map<std::string, Tensor>;
std::vector<Tensor> of_group(const Params& params, const json& group) {
  std::vector<Tensor> out;
  for (const auto& name : group.at("params")) out.push_back(params.at(name.get<std::string>()));
  return out;
}

template <class Optimizer, class F>
std::unique_ptr<optim::Optimizer> make(const Params& params, const json& c, F options,
                                       std::function<void(const json&)>& add) {
  std::unique_ptr<Optimizer> made;
  for (const json& group : c.at("groups")) {
    if (!made)
      made = std::make_unique<Optimizer>(of_group(params, group), options(merged(c, group)));
    else
      made->add_param_group(of_group(params, group), options(merged(c, group)));
  }
  Optimizer* raw = made.get();
  add = [raw, &params, &c, options](const json& group) {
    raw->add_param_group(of_group(params, group), options(merged(c, group)));
  };
  return made;
}

std::string compare_state(const CaseFile& file, const Value& got, const json& want, const json& c,
                          const std::string& at) {
  if (want.is_object() && want.contains("dict")) {
    for (const auto& [key, w] : want["dict"].items()) {
      const Value* v = got.find(key);
      if (!v && !key.empty() && std::isdigit(static_cast<unsigned char>(key[0])))
        v = got.find(static_cast<int64_t>(std::stoll(key)));
      if (!v) return at + ": no entry " + key;
      if (std::string s = compare_state(file, *v, w, c, at + "." + key); !s.empty()) return s;
    }
    return got.size() == want["dict"].size() ? "" : at + ": has other entries too";
  }
  if (want.is_array()) {
    if (got.size() != want.size()) return at + ": want a list of " + std::to_string(want.size());
    for (size_t i = 0; i < want.size(); ++i)
      if (std::string s = compare_state(file, got.as_list()[i], want[i], c, at + "[" + std::to_string(i) + "]");
          !s.empty())
        return s;
    return {};
  }
  if (want.is_number() && got.is_scalar())
    return got.as_double() == want.get<double>() ? "" : at + ": is " + got.str(40) + ", want " + want.dump();
  std::string s = compare(file, got, want, c.at("rtol"), c.at("atol"));
  return s.empty() ? s : at + ": " + s;
}

std::string run_steps(const CaseFile& file, const json& c) {
  Decoder d(file, false);
  Params params;
  for (const auto& [name, r] : c.at("params").items()) params[name] = d.tensor(r).set_requires_grad(true);
  std::function<void(const json&)> add;
  const std::string name = c.at("optimizer");
  std::unique_ptr<optim::Optimizer> o = name == "SGD" ? make<optim::SGD>(params, c, sgd_options, add)
                                        : name == "Adam"
                                            ? make<optim::Adam>(params, c, adam_options<optim::AdamOptions>, add)
                                            : make<optim::AdamW>(params, c, adam_options<optim::AdamWOptions>, add);
  if (!c.contains("steps")) return {};
  const int64_t steps = c["steps"];
  std::map<std::string, Tensor> grads;
  for (const auto& [p, r] : c.at("grads").items()) grads[p] = d.tensor(r);
  for (int64_t s = 0; s < steps; ++s) {
    const std::string key = std::to_string(s);
    if (c.contains("add_group_before_step") && c["add_group_before_step"].contains(key))
      for (const json& group : c["add_group_before_step"][key]) add(group);
    for (auto& [p, t] : params) {
      bool none = false;
      if (c.contains("no_grad_at") && c["no_grad_at"].contains(key))
        for (const auto& skip : c["no_grad_at"][key]) none |= skip == p;
      t.set_grad(none ? Tensor() : grads.at(p).select(0, s).clone());
    }
    compute("step", [&] { o->step(); });
    for (const auto& [p, r] : c.at("after_step").items()) {
      Tensor want = d.tensor(r).select(0, s);
      if (std::string e = compare_tensors(params.at(p), want, c.at("rtol"), c.at("atol")); !e.empty())
        return "step " + key + ", " + p + ": " + e;
    }
  }
  return c.contains("state_dict") ? compare_state(file, o->state_dict(), c["state_dict"], c, "state_dict")
                                  : std::string();
}

}  // namespace

Outcome run_optim_case(const CaseFile& file, const json& c) {
  const std::string name = c.at("optimizer");
  if (name != "SGD" && name != "Adam" && name != "AdamW") return {Outcome::Kind::missing, "optim." + name};
  try {
    std::string s = run_steps(file, c);
    if (c.value("error", false))
      return {Outcome::Kind::failed, "no error; PyTorch says: " + c.value("torch_message", "")};
    return s.empty() ? Outcome() : Outcome{Outcome::Kind::failed, s};
  } catch (const InternalError& e) {
    return {Outcome::Kind::failed, e.what()};
  } catch (const std::exception& e) {
    return c.value("error", false) ? Outcome() : Outcome{Outcome::Kind::failed, e.what()};
  }
}

}  // namespace weft::check
