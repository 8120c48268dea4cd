#include "optim/grad_scaler.h"

#include <cmath>
#include <cstdio>

#include "autograd/autocast.h"
#include "autograd/backward_state.h"
#include "autograd/function.h"
#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/optimizer_step.h"
#include "core/ops/pointwise_api.h"

namespace weft::optim {
namespace {

// A multiplication that also tells the leaves of its backward pass what their gradients carry.
struct Scaled : Function<Scaled> {
  static Tensor forward(Context& c, const Tensor& loss, double factor) {
    c.data["factor"] = factor;
    return loss * factor;
  }
  static std::vector<Tensor> backward(Context& c, const std::vector<Tensor>& g) {
    autograd::note_scaled_backward();
    return {g[0] * std::any_cast<double>(c.data["factor"]), Tensor()};
  }
};

void check(const GradScalerOptions& o) {
  WEFT_CHECK(o.init_scale > 0 && std::isfinite(o.init_scale), "GradScaler: init_scale must be positive, got {}",
             o.init_scale);
  WEFT_CHECK(o.growth_factor > 1, "GradScaler: growth_factor must be above 1, got {}", o.growth_factor);
  WEFT_CHECK(o.backoff_factor > 0 && o.backoff_factor < 1, "GradScaler: backoff_factor must lie in (0, 1), got {}",
             o.backoff_factor);
  WEFT_CHECK(o.growth_interval >= 1, "GradScaler: growth_interval must be at least 1, got {}", o.growth_interval);
}

}  // namespace

bool GradScaler::State::found_any() {
  if (!found) {
    const weft::detail::HostRead read("GradScaler: whether a gradient holds inf or NaN decides over the step");
    found = false;
    for (const Tensor& f : flags) found = f.item<float>() != 0 || *found;
  }
  return *found;
}

GradScaler::GradScaler(const GradScalerOptions& o)
    : options_(o), scale_(static_cast<float>(o.init_scale)), applied_(scale_) {
  check(o);
  weft::detail::take_last_autocast_dtype();  // guards from before are of other losses
}

Tensor GradScaler::scale(const Tensor& loss) {
  if (!options_.enabled) return loss;
  WEFT_CHECK_TYPE(loss.defined() && is_floating(loss.dtype()), "GradScaler: a loss must be a floating tensor, got {}",
                  loss);
  const DType computed_in = weft::detail::take_last_autocast_dtype();
  if (needed_ && (loss.dtype() == DType::bf16 || computed_in == DType::bf16)) {
    needed_ = false;
    std::fprintf(
        stderr,
        "weft: GradScaler: bf16 has the range of f32 and needs no scaler; pass .enabled = (dtype == DType::f16)\n");
  }
  applied_ = scale_;
  return Scaled::apply(loss, static_cast<double>(scale_));
}
std::vector<Tensor> GradScaler::scale(const std::vector<Tensor>& losses) {
  std::vector<Tensor> out;
  for (const Tensor& loss : losses) out.push_back(scale(loss));
  return out;
}

bool GradScaler::unscale_(Optimizer& optimizer) {
  if (!options_.enabled) return false;
  State& state = states_[&optimizer];
  WEFT_CHECK(!state.stepped, "GradScaler: unscale_ after step(); call update() first");
  if (state.unscaled) return false;
  std::vector<Tensor> gradients;
  for (size_t g = 0; g < optimizer.group_count(); ++g)
    for (const Tensor& p : optimizer.params(g)) {
      const Tensor gradient = p.grad();
      if (!gradient.defined()) continue;
      WEFT_CHECK_TYPE(gradient.dtype() != DType::f16,
                      "GradScaler: the gradient of {} is f16, too narrow to be unscaled in; keep parameters in f32 (in "
                      "an Autocast they are cast where needed)",
                      p);
      gradients.push_back(gradient.detach());
    }
  // Rounded as PyTorch does: a reciprocal in f64, to f32.
  state.flags = unscale(gradients, static_cast<float>(1.0 / static_cast<double>(applied_)));
  state.unscaled = true;
  return true;
}

StepResult GradScaler::step(Optimizer& optimizer) {
  if (!options_.enabled) {
    optimizer.step();
    return {.stepped = true};
  }
  State& state = states_[&optimizer];
  WEFT_CHECK(!state.stepped, "GradScaler: step() twice for one optimizer; call update() in between");
  unscale_(optimizer);
  state.stepped = true;
  if (state.found_any()) return {.skipped = true};
  optimizer.step();
  return {.stepped = true};
}

void GradScaler::update(std::optional<double> new_scale) {
  if (!options_.enabled) return;
  if (new_scale) {
    WEFT_CHECK(*new_scale > 0 && std::isfinite(*new_scale), "GradScaler: the new scale must be positive, got {}",
               *new_scale);
    scale_ = static_cast<float>(*new_scale);
  } else {
    WEFT_CHECK(!states_.empty(), "GradScaler: update() without a step() since the last one");
    bool found = false;
    for (auto& [optimizer, state] : states_) found = state.found_any() || found;
    if (found) {
      scale_ = static_cast<float>(static_cast<double>(scale_) * options_.backoff_factor);
      growth_tracker_ = 0;
    } else if (++growth_tracker_ == options_.growth_interval) {
      const float grown = static_cast<float>(static_cast<double>(scale_) * options_.growth_factor);
      if (std::isfinite(grown)) scale_ = grown;
      growth_tracker_ = 0;
    }
  }
  states_.clear();
}

Value GradScaler::state_dict() const {
  if (!options_.enabled) return Value::dict();
  return {{"scale", static_cast<double>(scale_)},
          {"growth_factor", options_.growth_factor},
          {"backoff_factor", options_.backoff_factor},
          {"growth_interval", options_.growth_interval},
          {"_growth_tracker", growth_tracker_}};
}

void GradScaler::load_state_dict(const Value& state) {
  if (!options_.enabled) return;
  WEFT_CHECK(state.is_dict() && state.size() > 0,
             "load_state_dict: the state is empty; was it saved by a GradScaler that was not enabled?");
  GradScalerOptions o = options_;
  o.init_scale = state.at("scale").as_double("scale");
  o.growth_factor = state.at("growth_factor").as_double("growth_factor");
  o.backoff_factor = state.at("backoff_factor").as_double("backoff_factor");
  o.growth_interval = state.at("growth_interval").as_int("growth_interval");
  const int64_t tracker = state.at("_growth_tracker").as_int("_growth_tracker");
  check(o);
  scale_ = applied_ = static_cast<float>(o.init_scale);
  o.init_scale = options_.init_scale;
  options_ = o;
  growth_tracker_ = tracker;
}

}  // namespace weft::optim
