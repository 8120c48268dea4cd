#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "core/value.h"

// Calling any op by its name with generic values: what the conformance runner, the benchmark command and tools use.
namespace weft {

/// Arguments bound to a schema's parameters, by index. Accessors throw a TypeError that names op and parameter.
class Args {
 public:
  Args(std::string_view op, std::vector<std::string_view> names, std::vector<Value> values)
      : op_(op), names_(std::move(names)), values_(std::move(values)) {}

  const Value& operator[](size_t i) const { return values_[i]; }
  bool none(size_t i) const { return values_[i].is_none(); }
  bool is_tensor(size_t i) const { return values_[i].is_tensor(); }
  std::string label(size_t i) const;

  const Tensor& tensor(size_t i) const { return values_[i].as_tensor(label(i)); }
  Tensor optional_tensor(size_t i) const { return none(i) ? Tensor() : tensor(i); }
  /// A tensor, or a number as Tensor::wrap makes it.
  Tensor operand(size_t i) const { return is_tensor(i) ? tensor(i) : Tensor::wrap(scalar(i)); }
  std::vector<Tensor> tensors(size_t i) const { return values_[i].as_tensors(label(i)); }
  Scalar scalar(size_t i) const;
  std::optional<Scalar> optional_scalar(size_t i) const;
  int64_t integer(size_t i) const;
  std::optional<int64_t> optional_integer(size_t i) const;
  double real(size_t i) const { return scalar(i).f64(); }
  std::optional<double> optional_real(size_t i) const;
  bool flag(size_t i) const { return values_[i].as_bool(label(i)); }
  const std::string& text(size_t i) const { return values_[i].as_string(label(i)); }
  /// A list of integers, or one integer.
  Dims dims(size_t i) const;
  std::vector<int64_t> integers(size_t i) const;
  DimList dim_list(size_t i) const;
  std::optional<DType> dtype(size_t i) const;
  TensorOptions options(size_t dtype, size_t device, size_t requires_grad) const;
  MemoryFormat memory_format(size_t i, MemoryFormat otherwise) const;

 private:
  std::string_view op_;
  std::vector<std::string_view> names_;
  std::vector<Value> values_;
};

/// One callable op. `params` is written as in Python: "input, dim, dtype=None"; "*" starts keyword-only ones, "*sizes"
/// takes a list or all remaining integers.
struct OpSchema {
  std::string_view name;
  std::string_view params;
  Value (*call)(const Args& args);
  /// `name_`: changes its first argument; null: the result is copied into it. `view`: only its geometry changes.
  Value (*inplace)(const Args& args) = nullptr;
  bool view = false;
};

struct NamedValue {
  std::string name;
  Value value;
};

/// Arguments put in the order of `params` (written as in OpSchema), defaults filled in; TypeError when they do not fit.
/// The texts must outlive the result.
Args bind_args(std::string_view name, std::string_view params, std::vector<Value> args,
               std::vector<NamedValue> kwargs = {});
/// Null when there is none. Names are PyTorch's without "torch." and "torch.nn.functional.": "softmax", "gelu",
/// "nn.init.ones_".
const OpSchema* find_op(std::string_view name);
/// All names, sorted.
std::vector<std::string> op_names();
/// Adds ops of other folders (idempotent; names must be new).
void add_op_schemas(std::span<const OpSchema> schemas);

/// Calls by name. `name_` and `_.inplace=True` change the first argument; a tensor `out` receives the result.
Value call(std::string_view name, std::vector<Value> args, std::vector<NamedValue> kwargs = {});

}  // namespace weft
