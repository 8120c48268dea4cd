#include "autograd/autograd.h"
#include "core/error.h"
#include "core/thread_state.h"
#include "tools/weft/check.h"
#include "tools/weft/modules.h"

// The cases of conformance/modules: construct, convert, load the state, call, compare results, gradients and the state
// after.
namespace weft::check {
namespace {

using json = nlohmann::ordered_json;

std::vector<NamedValue> keywords(Decoder& d, const json& c) {
  std::vector<NamedValue> out;
  if (c.contains("kwargs"))
    for (const auto& [name, v] : c["kwargs"].items()) out.push_back({name, d.value(v)});
  return out;
}
std::vector<Value> positional(Decoder& d, const json& c) {
  std::vector<Value> out;
  if (c.contains("args"))
    for (const json& v : c["args"]) out.push_back(d.value(v));
  return out;
}

// Whether every class that the description names is there.
bool known(const json& j) {
  if (j.is_object() && j.contains("module") && j["module"].is_string() &&
      !tools::find_module(j["module"].get<std::string>()))
    return false;
  if (j.is_structured())
    for (const json& x : j)
      if (!known(x)) return false;
  return true;
}

struct Case {
  const CaseFile& file;
  const json& c;
  Decoder inputs{file};
  tools::Built built{};

  void construct() {
    Decoder d(file, false);
    std::vector<Value> args = positional(d, c.at("ctor"));
    built = tools::make_module(c.at("module").get<std::string>(), std::move(args), keywords(d, c["ctor"]));
    DType t;
    if (parse_dtype(c.at("dtype").get<std::string>(), t) && is_floating(t)) built->module().to(t);
    if (device().is_cuda()) built->module().to(device());
    if (c.contains("state")) {
      StateDict state;
      for (const auto& [name, reference] : c["state"].items()) state.set(name, d.tensor(reference));
      built->module().load_state_dict(state);
    }
    built->module().train(c.value("train", true));
  }
  // Computes the result, and the gradients when the case has any.
  Value forward() {
    std::vector<Value> args = positional(inputs, c);
    auto more = keywords(inputs, c);
    std::vector<Tensor> cotangents;
    Decoder d(file, false);
    if (c.contains("grad"))
      for (const json& r : c["grad"].at("cotangents")) cotangents.push_back(r.is_null() ? Tensor() : d.tensor(r));
    Value result;
    compute("forward", [&] {
      result = built->call(std::move(args), std::move(more));
      if (c.contains("grad")) differentiable = differentiate(result, cotangents);
    });
    return result;
  }

  // Gradients of the result: what the case has numbers for, in its order. False when no result requires grad.
  std::vector<Tensor> got{};
  bool differentiable = true;
  bool differentiate(const Value& result, const std::vector<Tensor>& all) {
    const json& g = c["grad"];
    std::vector<Tensor> results, outputs, cotangents, wanted = inputs.leaves();
    flatten(result, results);
    for (size_t i = 0; i < all.size() && i < results.size(); ++i) {
      if (!all[i].defined() || !results[i].requires_grad()) continue;
      outputs.push_back(results[i]);
      cotangents.push_back(all[i]);
    }
    if (outputs.empty()) return false;
    if (g.contains("params"))
      for (const auto& [name, reference] : g["params"].items()) wanted.push_back(built->module().get_parameter(name));
    got = grad(outputs, wanted, {.grad_outputs = cotangents, .allow_unused = true});
    return true;
  }
  std::string gradients() {
    const json& g = c["grad"];
    std::vector<std::string> names;
    for (size_t i = 0; i < inputs.leaves().size(); ++i) names.push_back("input " + std::to_string(i));
    json references = g.at("inputs");
    if (g.contains("params"))
      for (const auto& [name, reference] : g["params"].items()) {
        names.push_back(name);
        references.push_back(reference);
      }
    NoGrad guard;
    for (size_t i = 0; i < got.size() && i < references.size(); ++i) {
      if (references[i].is_null()) {
        if (got[i].defined() && got[i].ne(0).any().item<bool>())
          return "gradient of " + names[i] + ": want none or zeros";
        continue;
      }
      if (!got[i].defined()) return "gradient of " + names[i] + ": none";
      if (std::string s = compare(file, got[i], references[i], g.at("rtol"), g.at("atol")); !s.empty())
        return "gradient of " + names[i] + ": " + s;
    }
    return {};
  }

  std::string state_after(double rtol, double atol) {
    NoGrad guard;
    const json none = json::object();
    const json& before = c.contains("state") ? c["state"] : none;
    const json& after = c.contains("state_after") ? c["state_after"] : none;
    for (const auto& [name, t] : built->module().state_dict()) {
      const bool changed = after.contains(name);
      if (!changed && !before.contains(name)) continue;
      const json& want = changed ? after[name] : before[name];
      if (std::string s = compare(file, t, want, changed ? rtol : 0, changed ? atol : 0); !s.empty())
        return "state " + name + ": " + s;
    }
    return {};
  }
};

}  // namespace

Outcome run_module_case(const CaseFile& file, const json& c) {
  if (!known(c)) return {Outcome::Kind::missing, c.at("module").get<std::string>()};
  Case run{file, c};
  if (c.value("error", false)) {
    try {
      run.construct();
      if (c.at("error_on") == "construct")
        return {Outcome::Kind::failed, "the constructor took it; PyTorch says: " + c.value("torch_message", "")};
      Value v = run.forward();
      finish_device();
      return {Outcome::Kind::failed, "no error; PyTorch says: " + c.value("torch_message", "") + "; got " + v.str(80)};
    } catch (const InternalError& e) {
      return {Outcome::Kind::failed, e.what()};
    } catch (const Error&) {
      return {};
    }
  }
  try {
    run.construct();
    Value result = run.forward();
    const double rtol = c.at("rtol"), atol = c.at("atol");
    std::string s = compare(file, result, c.at("out"), rtol, atol);
    if (s.empty() && !run.differentiable) s = "no result requires grad";
    if (s.empty() && c.contains("grad")) s = run.gradients();
    if (s.empty()) s = run.state_after(rtol, atol);
    if (!s.empty()) return {Outcome::Kind::failed, s};
  } catch (const std::exception& e) {
    return {Outcome::Kind::failed, std::string("error: ") + e.what()};
  }
  return {};
}

}  // namespace weft::check
