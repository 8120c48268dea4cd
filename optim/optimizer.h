#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "core/value.h"

namespace weft::optim {

/// What GradScaler::step() did; schedulers take it.
struct StepResult {
  bool stepped = false;
  bool skipped = false;  ///< a gradient was inf or NaN
};

/// What all optimizers share. Parameters are leaves that require grad; step() skips those without a gradient.
class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// One update of all parameters from their .grad.
  virtual void step() = 0;
  /// Drops the gradients, or zeroes them in place.
  void zero_grad(bool set_to_none = true);

  /// Parameter groups, e.g. for schedulers: each has its own learning rate.
  virtual size_t group_count() const = 0;
  virtual double lr(size_t group = 0) const = 0;
  virtual void set_lr(size_t group, double lr) = 0;
  virtual const std::vector<Tensor>& params(size_t group) const = 0;
  /// What CyclicLR and OneCycleLR move: SGD's momentum, Adam's first beta; nothing where an optimizer has neither.
  virtual std::optional<double> momentum(size_t) const { return {}; }
  virtual void set_momentum(size_t, double) {}
  /// Whether that is one of two betas.
  virtual bool has_betas() const { return false; }
  /// The rate before the first scheduler, which asks for it first.
  double initial_lr(size_t group);
  void set_initial_lr(size_t group, double lr);

  /// {"state": {index: {...}}, "param_groups": [{..., "params": [index, ...]}]} as PyTorch's, which loads it.
  virtual Value state_dict() const = 0;
  /// Restores a state_dict(), ours or PyTorch's, into the same parameters; weft::Error when groups or shapes do not
  /// match.
  virtual void load_state_dict(const Value& state) = 0;

 protected:
  /// Checks new parameters of a group: defined leaves, none of them in a group already.
  void check_params(const std::vector<Tensor>& params, const char* name) const;

 private:
  std::vector<std::optional<double>> initial_lrs_;
};

/// Groups with options of type O (which has `lr`) and state of type S per parameter.
template <class O, class S>
class OptimizerOf : public Optimizer {
 public:
  struct Group {
    std::vector<Tensor> params;
    O options;
    std::vector<S> state;  ///< by parameter
  };

  size_t group_count() const override { return groups_.size(); }
  double lr(size_t group = 0) const override { return groups_.at(group).options.lr; }
  void set_lr(size_t group, double lr) override { groups_.at(group).options.lr = lr; }
  const std::vector<Tensor>& params(size_t group) const override { return groups_.at(group).params; }
  std::optional<double> momentum(size_t group) const override {
    const O& o = groups_.at(group).options;
    if constexpr (requires { o.betas; })
      return o.betas[0];
    else if constexpr (requires { o.momentum; })
      return o.momentum;
    else
      return {};
  }
  void set_momentum(size_t group, double momentum) override {
    O& o = groups_.at(group).options;
    if constexpr (requires { o.betas; })
      o.betas[0] = momentum;
    else if constexpr (requires { o.momentum; })
      o.momentum = momentum;
  }
  bool has_betas() const override {
    return requires(O & o) { o.betas; };
  }
  const O& options(size_t group = 0) const { return groups_.at(group).options; }
  O& options(size_t group = 0) { return groups_.at(group).options; }

 protected:
  std::vector<Group> groups_;
};

namespace detail {
/// The gradient of p in p's layout; undefined when there is none.
Tensor gradient(const Tensor& p);
/// A zeroed state tensor beside p.
Tensor zeros_beside(const Tensor& p);
/// A loaded state tensor, converted to p's dtype and layout.
Tensor loaded(const Value& v, const Tensor& p, const std::string& name);

/// The frame of state_dict(): `group_dict(g)` gives the options, `state_dict_of(g, i)` the state of parameter i (empty:
/// none).
template <class Groups, class F, class G>
Value save_groups(const Groups& groups, F group_dict, G state_of) {
  Value::Dict state;
  Value::List list;
  int64_t index = 0;
  for (const auto& g : groups) {
    Value::Dict d = group_dict(g.options);
    Value::List params;
    for (size_t i = 0; i < g.params.size(); ++i, ++index) {
      Value::Dict s = state_of(g, i);
      if (!s.empty()) state.set(index, Value(std::move(s)));
      params.push_back(index);
    }
    d.set("params", Value::list(std::move(params)));
    list.push_back(Value(std::move(d)));
  }
  Value::Dict whole;
  whole.set("state", Value(std::move(state)));
  whole.set("param_groups", Value::list(std::move(list)));
  return Value(std::move(whole));
}
/// The list of groups in `state`, its length and numbers of parameters checked against `sizes`.
const Value::List& check_groups(const Value& state, const std::vector<size_t>& sizes);
/// The state of parameter i of a saved group, null when there is none: groups number their parameters.
const Value* state_of(const Value& state, const Value& group, size_t i);
/// A number of a saved group: PyTorch also has 0-dim tensors there (a learning rate in a graph).
double number_of(const Value& group, const char* name);
}  // namespace detail

}  // namespace weft::optim
