#include "core/error.h"
#include "core/ops/distance.h"
#include "core/ops/norm.h"
#include "core/ops/softmax.h"
#include "core/ops/statistics.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

Value matrix_norm_call(const Args& a) {
  Dims dims = a[2].size() ? a.dims(2) : Dims{-2, -1};
  WEFT_CHECK(dims.size() == 2, "linalg.matrix_norm: dim must name two dimensions, got {}", dims);
  WEFT_CHECK(!a[1].is_string() || a.text(1) == "fro",
             "linalg.matrix_norm: ord {} is not offered; use \"fro\" or a number", a[1].str());
  return linalg::matrix_norm(a.tensor(0), a[1].is_string() ? linalg::MatrixOrd() : linalg::MatrixOrd(a.real(1)),
                             {.rows = dims[0], .columns = dims[1], .keepdim = a.flag(3), .dtype = a.dtype(4)});
}

constexpr OpSchema kRows[] = {
    {"softmax", "input, dim, dtype=None",
     [](const Args& a) -> Value { return softmax(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"log_softmax", "input, dim, dtype=None",
     [](const Args& a) -> Value { return log_softmax(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"softmin", "input, dim, *, dtype=None",
     [](const Args& a) -> Value { return softmin(a.tensor(0), a.integer(1), a.dtype(2)); }},
    {"layer_norm", "input, normalized_shape, weight=None, bias=None, eps=1e-05",
     [](const Args& a) -> Value {
       return layer_norm(a.tensor(0), a.dims(1),
                         {.weight = a.optional_tensor(2), .bias = a.optional_tensor(3), .eps = a.real(4)});
     }},
    {"group_norm", "input, num_groups, weight=None, bias=None, eps=1e-05",
     [](const Args& a) -> Value {
       return group_norm(a.tensor(0), a.integer(1),
                         {.weight = a.optional_tensor(2), .bias = a.optional_tensor(3), .eps = a.real(4)});
     }},
    {"rms_norm", "input, normalized_shape, weight=None, eps=None",
     [](const Args& a) -> Value {
       return rms_norm(a.tensor(0), a.dims(1), {.weight = a.optional_tensor(2), .eps = a.optional_real(3)});
     }},
    {"normalize", "input, p=2.0, dim=1, eps=1e-12",
     [](const Args& a) -> Value {
       return normalize(a.tensor(0), {.p = a.real(1), .dim = a.dim_list(2), .eps = a.real(3)});
     }},
    {"cosine_similarity", "x1, x2, dim=1, eps=1e-08",
     [](const Args& a) -> Value {
       return cosine_similarity(a.tensor(0), a.tensor(1), {.dim = a.integer(2), .eps = a.real(3)});
     }},
    {"pairwise_distance", "x1, x2, p=2.0, eps=1e-06, keepdim=False",
     [](const Args& a) -> Value {
       return pairwise_distance(a.tensor(0), a.tensor(1), {.p = a.real(2), .eps = a.real(3), .keepdim = a.flag(4)});
     }},
    {"local_response_norm", "input, size, alpha=0.0001, beta=0.75, k=1.0",
     [](const Args& a) -> Value {
       return local_response_norm(a.tensor(0), a.integer(1), {.alpha = a.real(2), .beta = a.real(3), .k = a.real(4)});
     }},
    {"linalg.vector_norm", "input, ord=2, dim=None, keepdim=False, *, dtype=None",
     [](const Args& a) -> Value {
       return linalg::vector_norm(a.tensor(0), a.real(1),
                                  {.dim = a.dim_list(2), .keepdim = a.flag(3), .dtype = a.dtype(4)});
     }},
    {"linalg.matrix_norm", "input, ord='fro', dim=[], keepdim=False, *, dtype=None", &matrix_norm_call},
    {"dist", "input, other, p=2", [](const Args& a) -> Value { return dist(a.tensor(0), a.tensor(1), a.real(2)); }},
    {"cdist", "x1, x2, p=2.0, compute_mode='use_mm_for_euclid_dist_if_necessary'",
     [](const Args& a) -> Value { return cdist(a.tensor(0), a.tensor(1), a.real(2)); }},
    {"nanmean", "input, dim=None, keepdim=False, *, dtype=None",
     [](const Args& a) -> Value {
       return nanmean(a.tensor(0), {.dim = a.dim_list(1), .keepdim = a.flag(2), .dtype = a.dtype(3)});
     }},
};

}  // namespace

std::span<const OpSchema> norms() { return kRows; }

}  // namespace weft::schema
