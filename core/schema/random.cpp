#include "core/ops/random.h"
#include "core/error.h"
#include "core/ops/dropout.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

#define WEFT_OPTIONS "*, dtype=None, device=None, requires_grad=False"

Value normal_call(const Args& a) {
  if (a.is_tensor(0)) return a.is_tensor(1) ? normal(a.tensor(0), a.tensor(1)) : normal(a.tensor(0), a.real(1));
  if (a.is_tensor(1)) return normal(a.real(0), a.tensor(1));
  return normal(a.real(0), a.real(1), a.dims(2), a.options(3, 4, 5));
}
Value randint_call(const Args& a) {
  // randint(high, size) and randint(low, high, size)
  TensorOptions o = a.options(3, 4, 5);
  return a.none(2) ? randint(a.integer(0), a.dims(1), o) : randint(a.integer(0), a.integer(1), a.dims(2), o);
}
Value randint_like_call(const Args& a) {
  return a.none(2) ? randint_like(a.tensor(0), 0, a.integer(1), a.dtype(3))
                   : randint_like(a.tensor(0), a.integer(1), a.integer(2), a.dtype(3));
}

#define WEFT_DROPOUT(name, training)                                                   \
  {                                                                                    \
#name, "input, p=0.5, training=" training ", inplace=False",                       \
        [](const Args& a) -> Value { return name(a.tensor(0), a.real(1), a.flag(2)); } \
  }

constexpr OpSchema kRows[] = {
    {"rand", "*size, " WEFT_OPTIONS, [](const Args& a) -> Value { return rand(a.dims(0), a.options(1, 2, 3)); }},
    {"randn", "*size, " WEFT_OPTIONS, [](const Args& a) -> Value { return randn(a.dims(0), a.options(1, 2, 3)); }},
    {"randint", "low, high, size=None, " WEFT_OPTIONS, &randint_call},
    {"randperm", "n, " WEFT_OPTIONS, [](const Args& a) -> Value { return randperm(a.integer(0), a.options(1, 2, 3)); }},
    {"rand_like", "input, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return placed(rand_like(a.tensor(0), a.dtype(1)), a.options(1, 2, 3)); }},
    {"randn_like", "input, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return placed(randn_like(a.tensor(0), a.dtype(1)), a.options(1, 2, 3)); }},
    {"randint_like", "input, low, high=None, " WEFT_OPTIONS, &randint_like_call},
    {"normal", "mean, std=1.0, size=None, " WEFT_OPTIONS, &normal_call},
    {"bernoulli", "input, p=None",
     [](const Args& a) -> Value { return a.none(1) ? bernoulli(a.tensor(0)) : bernoulli(a.tensor(0), a.real(1)); }},
    {"poisson", "input", [](const Args& a) -> Value { return poisson(a.tensor(0)); }},
    {"multinomial", "input, num_samples, replacement=False",
     [](const Args& a) -> Value { return multinomial(a.tensor(0), a.integer(1), a.flag(2)); }},
    {"uniform_", "input, from=0.0, to=1.0",
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).uniform_(a.real(1), a.real(2)); }},
    {"normal_", "input, mean=0.0, std=1.0",
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).normal_(a.real(1), a.real(2)); }},
    {"bernoulli_", "input, p=0.5",
     [](const Args& a) -> Value {
       return a.is_tensor(1) ? Tensor(a.tensor(0)).bernoulli_(a.tensor(1)) : Tensor(a.tensor(0)).bernoulli_(a.real(1));
     }},
    {"random_", "input, from=None, to=None",
     [](const Args& a) -> Value {
       if (a.none(2) && !a.none(1)) return Tensor(a.tensor(0)).random_(0, a.integer(1));
       return Tensor(a.tensor(0)).random_(a.optional_integer(1), a.optional_integer(2));
     }},
    {"exponential_", "input, lambd=1.0",
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).exponential_(a.real(1)); }},
    {"geometric_", "input, p", [](const Args& a) -> Value { return Tensor(a.tensor(0)).geometric_(a.real(1)); }},
    {"cauchy_", "input, median=0.0, sigma=1.0",
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).cauchy_(a.real(1), a.real(2)); }},
    {"log_normal_", "input, mean=1.0, std=2.0",
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).log_normal_(a.real(1), a.real(2)); }},
    {"gumbel_softmax", "logits, tau=1.0, hard=False, eps=1e-10, dim=-1",
     [](const Args& a) -> Value { return gumbel_softmax(a.tensor(0), a.real(1), a.flag(2), a.integer(4)); }},
    WEFT_DROPOUT(dropout, "True"),
    WEFT_DROPOUT(dropout1d, "True"),
    WEFT_DROPOUT(dropout2d, "True"),
    WEFT_DROPOUT(dropout3d, "True"),
    WEFT_DROPOUT(alpha_dropout, "False"),
    WEFT_DROPOUT(feature_alpha_dropout, "False"),
    {"rrelu", "input, lower=0.125, upper=0.3333333333333333, training=False",
     [](const Args& a) -> Value { return rrelu(a.tensor(0), a.real(1), a.real(2), a.flag(3)); }},
};

}  // namespace

std::span<const OpSchema> random() { return kRows; }

}  // namespace weft::schema
