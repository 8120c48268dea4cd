#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/registry.h"
#include "nn/nn.h"

// Making torch.nn's modules by name and calling them with generic values.
namespace weft::tools {

/// A module and how to call it.
class BuiltModule {
 public:
  virtual ~BuiltModule() = default;
  virtual nn::Module& module() = 0;
  virtual Value call(std::vector<Value> args, std::vector<NamedValue> kwargs) = 0;
  /// Puts a copy behind the others; TypeError unless it takes one tensor.
  virtual void append_to(nn::Sequential& s) = 0;
};
using Built = std::unique_ptr<BuiltModule>;

/// One class: PyTorch's name, its constructor's parameters (written as in OpSchema), and how to make it.
struct ModuleRow {
  std::string_view name, params;
  Built (*make)(const Args& args);
};
/// Null when there is none.
const ModuleRow* find_module(std::string_view name);
/// Makes one; TypeError when the arguments do not fit. A module among the arguments is a dict {module, args, kwargs}.
Built make_module(std::string_view name, std::vector<Value> args, std::vector<NamedValue> kwargs = {});
Built make_module(const Value& description);

std::span<const ModuleRow> layer_rows();
std::span<const ModuleRow> simple_rows();
std::span<const ModuleRow> loss_rows();
std::span<const ModuleRow> recurrent_rows();

/// `m` called by `run` with arguments named as in `inputs`.
template <class M>
Built built(M m, std::string_view inputs, Value (*run)(M& m, const Args& args)) {
  struct Held : BuiltModule {
    Held(M v, std::string_view names, Value (*f)(M&, const Args&)) : value(std::move(v)), inputs(names), run(f) {}
    nn::Module& module() override { return value; }
    Value call(std::vector<Value> args, std::vector<NamedValue> kwargs) override {
      return run(value, bind_args(value.type_name(), inputs, std::move(args), std::move(kwargs)));
    }
    void append_to(nn::Sequential& s) override {
      if constexpr (std::is_invocable_r_v<Tensor, M&, const Tensor&>)
        s.push_back(value);
      else
        throw weft::TypeError("Sequential: " + value.type_name() + " does not take one tensor");
    }
    M value;
    std::string_view inputs;
    Value (*run)(M&, const Args&);
  };
  return std::make_unique<Held>(std::move(m), inputs, run);
}
template <class M>
Built unary(M m) {
  return built<M>(std::move(m), "input", [](M& f, const Args& a) -> Value { return f(a.tensor(0)); });
}
template <class M>
Built binary(M m) {
  return built<M>(std::move(m), "input, target",
                  [](M& f, const Args& a) -> Value { return f(a.tensor(0), a.tensor(1)); });
}
template <class M>
Built ternary(M m) {
  return built<M>(std::move(m), "input1, input2, target",
                  [](M& f, const Args& a) -> Value { return f(a.tensor(0), a.tensor(1), a.tensor(2)); });
}

}  // namespace weft::tools
