#include "tests/interop/interop.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/random.h"
#include "tools/weft/models.h"
#include "weft.h"

namespace weft::interop {
namespace {

template <class O>
std::unique_ptr<optim::Optimizer> with_groups(const std::vector<std::vector<Tensor>>& groups) {
  auto optimizer = std::make_unique<O>(groups.at(0));
  for (size_t g = 1; g < groups.size(); ++g) optimizer->add_param_group(groups[g], {});
  return optimizer;
}

std::unique_ptr<optim::Optimizer> make_optimizer(const std::string& name, const nn::Module& model,
                                                 const Value& groups) {
  std::vector<std::vector<Tensor>> parameters;
  for (const Value& names : groups.as_list("groups")) {
    parameters.emplace_back();
    for (const Value& n : names.as_list("groups")) parameters.back().push_back(model.get_parameter(n.as_string()));
  }
  if (name == "SGD") return with_groups<optim::SGD>(parameters);
  if (name == "Adam") return with_groups<optim::Adam>(parameters);
  WEFT_CHECK(name == "AdamW", "interop: optimizer '{}' is none of SGD, Adam, AdamW", name);
  return with_groups<optim::AdamW>(parameters);
}

}  // namespace

Value train(const Value& start) {
  manual_seed(1);
  const auto model = models::make_model(nlohmann::json::parse(start["workload"].as_string("workload")));
  const Tensor x = start["x"].as_tensor("x"), y = start["y"].as_tensor("y");
  if (x.is_floating_point()) model->to(x.dtype());
  if (const Value* state = start.find("model_state_dict"); state && !state->is_none())
    model->load_state_dict(state->as_state_dict("model_state_dict"));
  const auto optimizer = make_optimizer(start["optimizer"].as_string("optimizer"), *model, start["groups"]);
  optimizer->load_state_dict(start["optimizer_state_dict"]);
  std::vector<double> losses;
  for (int64_t step = 0; step < x.size(0); ++step) {
    optimizer->zero_grad();
    const Tensor loss = cross_entropy((*model)(x.select(0, step)).flatten(0, -2), y.select(0, step).flatten());
    loss.backward();
    losses.push_back(loss.item<double>());
    optimizer->step();
  }
  return {{"losses", tensor(losses, {.dtype = DType::f64})},
          {"model_state_dict", model->state_dict()},
          {"optimizer_state_dict", optimizer->state_dict()}};
}

}  // namespace weft::interop
