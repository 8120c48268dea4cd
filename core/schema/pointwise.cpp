#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/pointwise_api.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

// Which arguments PyTorch takes as plain numbers: of comparisons the second; of these ops none, or the second alone;
// else any but all.
bool takes_number(const PointwiseInfo& op, int i) {
  for (std::string_view name :
       {"atan2", "fmax", "fmin", "maximum", "minimum", "hypot", "logaddexp", "logaddexp2", "heaviside", "gcd"})
    if (name == op.name) return false;
  for (std::string_view name : {"fmod", "clamp_min", "clamp_max", "copysign"})
    if (name == op.name) return i == 1;
  if (op.dtypes == ops::Dtypes::logical) return false;
  return op.dtypes != ops::Dtypes::compare || i == 1;
}
void check_numbers(const PointwiseInfo& op, const Args& a) {
  bool any = false;
  for (int i = 0; i < op.arity; ++i) {
    bool is_tensor = a.is_tensor(static_cast<size_t>(i));
    any |= is_tensor;
    WEFT_CHECK_TYPE(is_tensor || takes_number(op, i), "{}: expects a tensor", a.label(static_cast<size_t>(i)));
  }
  WEFT_CHECK_TYPE(any, "{}: at least one argument must be a tensor", op.name);
}

template <const PointwiseInfo& op>
Value call_row(const Args& a) {
  check_numbers(op, a);
  Tensor in[3];
  for (int i = 0; i < op.arity; ++i) in[i] = a.operand(static_cast<size_t>(i));
  return pointwise(op, in);
}
template <const PointwiseInfo& op>
Value inplace_row(const Args& a) {
  check_numbers(op, a);
  Tensor self = a.tensor(0);
  Tensor rest[2];
  for (int i = 1; i < op.arity; ++i) rest[i - 1] = a.operand(static_cast<size_t>(i));
  return pointwise_(op, self, rest);
}

}  // namespace

// The rows without options, derived from the table.
std::vector<OpSchema> pointwise() {
  std::vector<OpSchema> rows;
#define WEFT_UNARY(Record, name) \
  rows.push_back({#name, "input", &call_row<pointwise_ops::name>, &inplace_row<pointwise_ops::name>});
#define WEFT_BINARY(Record, name) \
  rows.push_back({#name, "input, other", &call_row<pointwise_ops::name>, &inplace_row<pointwise_ops::name>});
#define WEFT_TERNARY(Record, name) \
  rows.push_back({#name, "input, end, weight", &call_row<pointwise_ops::name>, &inplace_row<pointwise_ops::name>});
#define WEFT_POINTWISE(Record, name)
#include "core/ops/pointwise.def"
#undef WEFT_UNARY
#undef WEFT_BINARY
#undef WEFT_TERNARY
#undef WEFT_POINTWISE
  return rows;
}

namespace {

Rounding rounding(const Args& a, size_t i) {
  if (a.none(i)) return Rounding::none;
  const std::string& mode = a.text(i);
  if (mode == "trunc") return Rounding::trunc;
  if (mode == "floor") return Rounding::floor;
  detail::fail_with(detail::Fault::user, "div: rounding_mode is \"{}\"; use \"trunc\" or \"floor\"", mode);
}

constexpr OpSchema kRows[] = {
    {"add", "input, other, *, alpha=1",
     [](const Args& a) -> Value { return add(a.operand(0), a.operand(1), a.scalar(2)); },
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).add_(a.operand(1), a.scalar(2)); }},
    {"sub", "input, other, *, alpha=1",
     [](const Args& a) -> Value { return sub(a.operand(0), a.operand(1), a.scalar(2)); },
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).sub_(a.operand(1), a.scalar(2)); }},
    {"rsub", "input, other, *, alpha=1",
     [](const Args& a) -> Value { return rsub(a.tensor(0), a.operand(1), a.scalar(2)); }},
    {"div", "input, other, *, rounding_mode=None",
     [](const Args& a) -> Value { return div(a.operand(0), a.operand(1), rounding(a, 2)); },
     [](const Args& a) -> Value {
       Tensor self = a.tensor(0), other = a.operand(1);
       Rounding r = rounding(a, 2);
       return pointwise_(r == Rounding::none    ? pointwise_ops::div
                         : r == Rounding::floor ? pointwise_ops::div_floor
                                                : pointwise_ops::div_trunc,
                         self, &other);
     }},
    {"floor_divide", "input, other", [](const Args& a) -> Value { return floor_divide(a.operand(0), a.operand(1)); },
     [](const Args& a) -> Value {
       Tensor self = a.tensor(0), other = a.operand(1);
       return pointwise_(pointwise_ops::div_floor, self, &other);
     }},
    {"round", "input, *, decimals=0", [](const Args& a) -> Value { return round(a.tensor(0), a.integer(1)); }},
    {"where", "condition, input, other",
     [](const Args& a) -> Value { return where(a.tensor(0), a.operand(1), a.operand(2)); }},
    {"masked_fill", "input, mask, value",
     [](const Args& a) -> Value {
       return a.is_tensor(2) ? masked_fill(a.tensor(0), a.tensor(1), a.tensor(2))
                             : masked_fill(a.tensor(0), a.tensor(1), a.scalar(2));
     },
     [](const Args& a) -> Value {
       const detail::HostRead read("masked_fill_: its value is a number of the host");
       return Tensor(a.tensor(0)).masked_fill_(a.tensor(1), a.scalar(2));
     }},
    {"clamp", "input, min=None, max=None",
     [](const Args& a) -> Value {
       if (a.is_tensor(1) || a.is_tensor(2))
         return clamp(a.tensor(0), a.none(1) ? Tensor() : a.operand(1), a.none(2) ? Tensor() : a.operand(2));
       return clamp(a.tensor(0), a.optional_scalar(1), a.optional_scalar(2));
     }},
    {"lerp", "input, end, weight", [](const Args& a) -> Value { return lerp(a.tensor(0), a.tensor(1), a.operand(2)); }},
    {"addcmul", "input, tensor1, tensor2, *, value=1",
     [](const Args& a) -> Value { return addcmul(a.tensor(0), a.operand(1), a.operand(2), a.scalar(3)); },
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).addcmul_(a.operand(1), a.operand(2), a.scalar(3)); }},
    {"addcdiv", "input, tensor1, tensor2, *, value=1",
     [](const Args& a) -> Value { return addcdiv(a.tensor(0), a.operand(1), a.operand(2), a.scalar(3)); },
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).addcdiv_(a.operand(1), a.operand(2), a.scalar(3)); }},
    {"positive", "input", [](const Args& a) -> Value { return positive(a.tensor(0)); }},
    {"bitwise_not", "input", [](const Args& a) -> Value { return bitwise_not(a.tensor(0)); }},
    {"nan_to_num", "input, nan=None, posinf=None, neginf=None",
     [](const Args& a) -> Value {
       return nan_to_num(a.tensor(0), a.optional_real(1), a.optional_real(2), a.optional_real(3));
     },
     [](const Args& a) -> Value {
       Tensor self = a.tensor(0);
       if (!is_floating(self.dtype())) return self;
       return self.copy_(nan_to_num(self, a.optional_real(1), a.optional_real(2), a.optional_real(3)));
     }},
    {"isclose", "input, other, rtol=1e-05, atol=1e-08, equal_nan=False",
     [](const Args& a) -> Value { return isclose(a.tensor(0), a.tensor(1), a.real(2), a.real(3), a.flag(4)); }},
    {"allclose", "input, other, rtol=1e-05, atol=1e-08, equal_nan=False",
     [](const Args& a) -> Value { return allclose(a.tensor(0), a.tensor(1), a.real(2), a.real(3), a.flag(4)); }},
    {"equal", "input, other", [](const Args& a) -> Value { return equal(a.tensor(0), a.tensor(1)); }},
    {"logit", "input, eps=None", [](const Args& a) -> Value { return logit(a.tensor(0), a.optional_real(1)); }},
    {"gelu", "input, *, approximate='none'",
     [](const Args& a) -> Value { return gelu(a.tensor(0), {.approximate = a.text(1)}); }},
    {"leaky_relu", "input, negative_slope=0.01",
     [](const Args& a) -> Value { return leaky_relu(a.tensor(0), a.real(1)); }},
    {"prelu", "input, weight", [](const Args& a) -> Value { return prelu(a.tensor(0), a.tensor(1)); }},
    {"threshold", "input, threshold, value",
     [](const Args& a) -> Value { return threshold(a.tensor(0), a.scalar(1), a.scalar(2)); }},
    {"hardtanh", "input, min_val=-1.0, max_val=1.0",
     [](const Args& a) -> Value { return hardtanh(a.tensor(0), a.scalar(1), a.scalar(2)); }},
    {"relu6", "input", [](const Args& a) -> Value { return relu6(a.tensor(0)); }},
    {"hardshrink", "input, lambd=0.5", [](const Args& a) -> Value { return hardshrink(a.tensor(0), a.real(1)); }},
    {"softshrink", "input, lambd=0.5", [](const Args& a) -> Value { return softshrink(a.tensor(0), a.real(1)); }},
    {"elu", "input, alpha=1.0", [](const Args& a) -> Value { return elu(a.tensor(0), a.real(1)); }},
    {"celu", "input, alpha=1.0", [](const Args& a) -> Value { return celu(a.tensor(0), a.real(1)); }},
    {"selu", "input", [](const Args& a) -> Value { return selu(a.tensor(0)); }},
    {"softplus", "input, beta=1.0, threshold=20.0",
     [](const Args& a) -> Value { return softplus(a.tensor(0), a.real(1), a.real(2)); }},
    {"promote_types", "type1, type2", [](const Args& a) -> Value { return promote_types(*a.dtype(0), *a.dtype(1)); }},
    {"result_type", "tensor1, tensor2", [](const Args& a) -> Value { return result_type(a.operand(0), a.operand(1)); }},
    {"can_cast", "from_, to", [](const Args& a) -> Value { return category(*a.dtype(0)) <= category(*a.dtype(1)); }},
};

}  // namespace

std::span<const OpSchema> pointwise_options() { return kRows; }

std::vector<std::span<const OpSchema>> all() {
  static const std::vector<OpSchema> rows = pointwise();
  return {pointwise_options(), rows,     creation(), views(), reductions(), norms(), losses(), indexing(),
          linear_algebra(),    random(), images()};
}

}  // namespace weft::schema
