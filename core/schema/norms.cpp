#include "core/ops/norm.h"
#include "core/ops/softmax.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

const OpSchema kRows[] = {
    {"softmax", "input, dim, dtype=None", [](const Args& a) -> Value { return softmax(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"log_softmax", "input, dim, dtype=None", [](const Args& a) -> Value { return log_softmax(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"softmin", "input, dim, *, dtype=None", [](const Args& a) -> Value { return softmin(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"layer_norm", "input, normalized_shape, weight=None, bias=None, eps=1e-05",
     [](const Args& a) -> Value { return layer_norm(a.tensor(0), a.dims(1), {.weight = a.optional_tensor(2), .bias = a.optional_tensor(3), .eps = a.real(4)}); }},
    {"group_norm", "input, num_groups, weight=None, bias=None, eps=1e-05",
     [](const Args& a) -> Value { return group_norm(a.tensor(0), a.integer(1), {.weight = a.optional_tensor(2), .bias = a.optional_tensor(3), .eps = a.real(4)}); }},
    {"rms_norm", "input, normalized_shape, weight=None, eps=None",
     [](const Args& a) -> Value { return rms_norm(a.tensor(0), a.dims(1), {.weight = a.optional_tensor(2), .eps = a.optional_real(3)}); }},
    {"normalize", "input, p=2.0, dim=1, eps=1e-12",
     [](const Args& a) -> Value { return normalize(a.tensor(0), {.p = a.real(1), .dim = a.dim_list(2), .eps = a.real(3)}); }},
    {"cosine_similarity", "x1, x2, dim=1, eps=1e-08",
     [](const Args& a) -> Value { return cosine_similarity(a.tensor(0), a.tensor(1), {.dim = a.integer(2), .eps = a.real(3)}); }},
    {"pairwise_distance", "x1, x2, p=2.0, eps=1e-06, keepdim=False",
     [](const Args& a) -> Value { return pairwise_distance(a.tensor(0), a.tensor(1), {.p = a.real(2), .eps = a.real(3), .keepdim = a.flag(4)}); }},
};

}  // namespace

std::span<const OpSchema> norms() { return kRows; }

}  // namespace weft::schema
