#include "core/error.h"
#include "core/ops/extreme.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "core/ops/scan.h"
#include "core/ops/sort.h"
#include "core/ops/statistics.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

Value pair(std::tuple<Tensor, Tensor> t) { return Value::tuple({std::get<0>(t), std::get<1>(t)}); }

// max(x), max(x, other), max(x, dim, keepdim)
#define WEFT_EXTREME(name)                                                   \
  {                                                                          \
#name, "input, dim=None, keepdim=False", [](const Args& a) -> Value {      \
     if (a.none(1)) return name(a.tensor(0));                                 \
     if (a.is_tensor(1)) return name(a.tensor(0), a.tensor(1));               \
     return pair(name(a.tensor(0), a.integer(1), a.flag(2)));                 \
   } \
  }

// var(x, dim, correction), and PyTorch's older var(x, unbiased) and var(x, dim, unbiased).
VarOptions var_options(const Args& a) {
  VarOptions o{.dim = a[1].is_bool() ? DimList() : a.dim_list(1), .keepdim = a.flag(3)};
  if (a[1].is_bool()) o.correction = a.flag(1) ? 1 : 0;
  if (a[2].is_bool()) o.correction = a.flag(2) ? 1 : 0;
  if (!a.none(4)) o.correction = a.real(4);
  return o;
}
constexpr const char* kVarParams = "input, dim=None, unbiased=None, keepdim=False, *, correction=None";

Value norm_call(const Args& a) {
  // p is a number, None or 'fro': all of them the 2-norm unless a number says otherwise.
  double p = a[1].is_string() || a.none(1) ? 2.0 : a.real(1);
  WEFT_CHECK(!a[1].is_string() || a.text(1) == "fro", "norm: p is \"{}\"; use a number or \"fro\"", a[1].str());
  return norm(a.tensor(0), p, {.dim = a.dim_list(2), .keepdim = a.flag(3), .dtype = a.dtype(4)});
}

#define WEFT_REDUCE(name)                                                                                              \
  {                                                                                                                    \
#name, "input, dim=None, keepdim=False, *, dtype=None",                                                            \
        [](const Args& a)                                                                                              \
             -> Value { return name(a.tensor(0), {.dim = a.dim_list(1), .keepdim = a.flag(2), .dtype = a.dtype(3)}); } \
  }

constexpr OpSchema kRows[] = {
    WEFT_REDUCE(sum),
    WEFT_REDUCE(mean),
    WEFT_REDUCE(prod),
    WEFT_REDUCE(amax),
    WEFT_REDUCE(amin),
    WEFT_REDUCE(any),
    WEFT_REDUCE(all),
    WEFT_REDUCE(nansum),
    WEFT_EXTREME(max),
    WEFT_EXTREME(min),
    {"argmax", "input, dim=None, keepdim=False",
     [](const Args& a) -> Value { return argmax(a.tensor(0), a.optional_integer(1), a.flag(2)); }},
    {"argmin", "input, dim=None, keepdim=False",
     [](const Args& a) -> Value { return argmin(a.tensor(0), a.optional_integer(1), a.flag(2)); }},
    {"aminmax", "input, *, dim=None, keepdim=False",
     [](const Args& a) -> Value { return pair(aminmax(a.tensor(0), a.optional_integer(1), a.flag(2))); }},
    {"var", kVarParams, [](const Args& a) -> Value { return var(a.tensor(0), var_options(a)); }},
    {"std", kVarParams, [](const Args& a) -> Value { return std(a.tensor(0), var_options(a)); }},
    {"var_mean", kVarParams, [](const Args& a) -> Value { return pair(var_mean(a.tensor(0), var_options(a))); }},
    {"std_mean", kVarParams, [](const Args& a) -> Value { return pair(std_mean(a.tensor(0), var_options(a))); }},
    {"norm", "input, p='fro', dim=None, keepdim=False, dtype=None", &norm_call},
    {"logsumexp", "input, dim, keepdim=False",
     [](const Args& a) -> Value { return logsumexp(a.tensor(0), a.dim_list(1), a.flag(2)); }},
    {"count_nonzero", "input, dim=None",
     [](const Args& a) -> Value { return count_nonzero(a.tensor(0), a.dim_list(1)); }},
    {"cumsum", "input, dim, *, dtype=None",
     [](const Args& a) -> Value { return cumsum(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"cumprod", "input, dim, *, dtype=None",
     [](const Args& a) -> Value { return cumprod(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"sort", "input, dim=-1, descending=False, stable=False",
     [](const Args& a) -> Value { return pair(sort(a.tensor(0), a.integer(1), a.flag(2), !a.none(3) && a.flag(3))); }},
    {"argsort", "input, dim=-1, descending=False, stable=False",
     [](const Args& a) -> Value { return argsort(a.tensor(0), a.integer(1), a.flag(2), a.flag(3)); }},
    {"topk", "input, k, dim=-1, largest=True, sorted=True",
     [](const Args& a) -> Value { return pair(topk(a.tensor(0), a.integer(1), a.integer(2), a.flag(3), a.flag(4))); }},
    {"kthvalue", "input, k, dim=-1, keepdim=False",
     [](const Args& a) -> Value { return pair(kthvalue(a.tensor(0), a.integer(1), a.integer(2), a.flag(3))); }},
};

}  // namespace

std::span<const OpSchema> reductions() { return kRows; }

}  // namespace weft::schema
