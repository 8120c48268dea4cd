#include <cmath>

#include "core/error.h"
#include "core/thread_state.h"
#include "optim/adam.h"
#include "optim/grad_scaler.h"
#include "optim/sgd.h"
#include "tools/weft/check.h"
#include "tools/weft/models.h"
#include "weft.h"

namespace weft::check {
namespace {

using json = nlohmann::ordered_json;

std::unique_ptr<optim::Optimizer> make_optimizer(const json& c, std::vector<Tensor> params) {
  const json& k = c.at("optimizer").at("kwargs");
  const std::string name = c["optimizer"].at("name");
  if (name == "SGD") {
    return std::make_unique<optim::SGD>(std::move(params),
                                        optim::SGDOptions{.lr = k.value("lr", 1e-3),
                                                          .momentum = k.value("momentum", 0.0),
                                                          .dampening = k.value("dampening", 0.0),
                                                          .weight_decay = k.value("weight_decay", 0.0),
                                                          .nesterov = k.value("nesterov", false)});
  }
  WEFT_CHECK(name == "AdamW", "optimizer {} is unknown", name);
  optim::AdamWOptions o;
  o.lr = k.value("lr", o.lr);
  o.weight_decay = k.value("weight_decay", o.weight_decay);
  o.eps = k.value("eps", o.eps);
  if (k.contains("betas")) o.betas = {k["betas"][0].get<double>(), k["betas"][1].get<double>()};
  return std::make_unique<optim::AdamW>(std::move(params), o);
}

std::string near(const std::string& what, double got, double want, double rtol, double atol = 0) {
  if (got == want || std::fabs(got - want) <= rtol * std::fabs(want) + atol) return {};
  char text[160];
  std::snprintf(text, sizeof text, "%s is %.9g, want %.9g (off by %.2g)", what.c_str(), got, want,
                std::fabs(got - want));
  return text;
}

Tensor loss_of(models::Model& model, const Tensor& x, const Tensor& y) {
  return cross_entropy(model(x).flatten(0, -2), y.flatten());
}

optim::GradScalerOptions scaler_options(const json& options) {
  optim::GradScalerOptions o;
  o.enabled = options.contains("grad_scaler");
  if (!o.enabled) return o;
  const json& k = options["grad_scaler"];
  o.init_scale = k.value("init_scale", o.init_scale);
  o.growth_factor = k.value("growth_factor", o.growth_factor);
  o.backoff_factor = k.value("backoff_factor", o.backoff_factor);
  o.growth_interval = k.value("growth_interval", o.growth_interval);
  return o;
}

void inject_inf(models::Model& model, const json& where) {
  for (const auto& p : model.named_parameters())
    if (p.name == where.at("parameter").get<std::string>()) {
      NoGrad guard;
      p.tensor.grad()
          .flatten()
          .select(0, where.at("index").get<int64_t>())
          .fill_(std::numeric_limits<double>::infinity());
      return;
    }
  WEFT_CHECK(false, "inject_inf: no parameter {}", where.at("parameter").get<std::string>());
}

std::string check_norms(const json& want, const std::vector<nn::NamedTensor>& have, double rtol) {
  for (const auto& [name, norm] : want.items()) {
    const Tensor* found = nullptr;
    for (const auto& t : have)
      if (t.name == name) found = &t.tensor;
    if (!found) return "no tensor named " + name;
    note_compared(*found);
    NoGrad guard;
    double got = std::sqrt(found->detach().to(DType::f64).square().sum().item<double>());
    if (std::string s = near(name, got, norm.get<double>(), rtol, 1e-4); !s.empty()) return s;
  }
  return {};
}

std::string run(const CaseFile& file, const json& c) {
  Decoder d(file, false);
  std::unique_ptr<models::Model> model = models::make_model(nlohmann::json(c.at("model")));
  StateDict state;
  for (const auto& [name, r] : c.at("state").items()) state.set(name, d.tensor(r));
  DType dtype = DType::f32;
  parse_dtype(c.value("dtype", "float32"), dtype);
  model->to(dtype);
  if (device().is_cuda()) model->to(device());
  model->load_state_dict(state);
  Tensor inputs = d.tensor(c.at("inputs")), targets = d.tensor(c.at("targets"));
  const json options = c.value("options", json::object());
  auto optimizer = make_optimizer(c, model->parameters());
  DType lower = DType::bf16;
  WEFT_CHECK(parse_dtype(options.value("autocast", "bfloat16"), lower), "autocast: unknown dtype");
  std::shared_ptr<optim::Scheduler> scheduler;
  if (options.contains("scheduler")) scheduler = make_scheduler(*optimizer, options["scheduler"]);
  optim::GradScaler scaler(scaler_options(options));
  const json& per = c.at("per_step");
  const int64_t steps = c.at("steps"), accumulate = options.value("accumulate", 1);
  for (int64_t s = 0; s < steps; ++s) {
    const std::string at = "step " + std::to_string(s) + ": ";
    const size_t i = static_cast<size_t>(s);
    const double lr = optimizer->lr(0);
    std::vector<Tensor> losses;
    Tensor grad_norm;
    optim::StepResult result{.stepped = true};
    compute("step", [&] {
      optimizer->zero_grad();
      for (int64_t k = 0; k < accumulate; ++k) {
        const int64_t b = (accumulate * s + k) % 4;
        Tensor loss;
        {
          const Autocast cast(device(), lower, {.enabled = options.contains("autocast")});
          loss = loss_of(*model, inputs.select(0, b), targets.select(0, b));
        }
        if (accumulate > 1) loss = loss / static_cast<double>(accumulate);
        scaler.scale(loss).backward();
        losses.push_back(loss.detach());
      }
      if (options.contains("inject_inf") && options["inject_inf"].at("step") == s)
        inject_inf(*model, options["inject_inf"]);
      scaler.unscale_(*optimizer);
      if (options.contains("clip_grad_value"))
        nn::utils::clip_grad_value_(model->parameters(), options["clip_grad_value"].get<double>());
      const double limit = options.value("clip_grad_norm", std::numeric_limits<double>::infinity());
      grad_norm = nn::utils::clip_grad_norm_(model->parameters(), limit);
      if (!scaler.is_enabled()) optimizer->step();
    });
    if (scaler.is_enabled()) {  // reads whether a gradient is inf, which would cut the compiled step in parts
      result = scaler.step(*optimizer);
      scaler.update();
    }
    if (scheduler) scheduler->step();
    double sum = 0;
    for (const Tensor& loss : losses) note_compared(loss);
    for (const Tensor& loss : losses) sum += loss.item<double>();
    const double norm = grad_norm.item<double>();
    const double rtol = c.at("loss_rtol")[i];
    if (std::string e = near(at + "loss", sum, number(per.at("loss")[i]), rtol); !e.empty()) return e;
    if (per.contains("grad_norm"))
      if (std::string e = near(at + "grad_norm", norm, number(per["grad_norm"][i]), rtol * 10); !e.empty()) return e;
    if (per.contains("lr"))
      if (std::string e = near(at + "lr", lr, number(per["lr"][i]), 1e-9); !e.empty()) return e;
    if (per.contains("scale"))
      if (std::string e = near(at + "scale", scaler.get_scale(), number(per["scale"][i]), 0); !e.empty()) return e;
    if (per.contains("skipped") && per["skipped"][i].get<bool>() != result.skipped)
      return at + (result.skipped ? "skipped" : "not skipped");
  }
  const json& last = c.at("final");
  const double rtol = c.at("final_rtol");
  if (std::string e = check_norms(last.value("param_norms", json::object()), model->named_parameters(), rtol);
      !e.empty())
    return "final " + e;
  if (std::string e = check_norms(last.value("buffer_norms", json::object()), model->named_buffers(), rtol); !e.empty())
    return "final " + e;
  model->eval();
  NoGrad guard;
  return near("final eval_loss", loss_of(*model, inputs.select(0, 0), targets.select(0, 0)).item<double>(),
              last.at("eval_loss"), rtol, 1e-4);
}

}  // namespace

Outcome run_train_case(const CaseFile& file, const json& c) {
  std::string s = run(file, c);
  return s.empty() ? Outcome() : Outcome{Outcome::Kind::failed, s};
}

}  // namespace weft::check
