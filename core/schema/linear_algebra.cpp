#include "core/ops/attention.h"
#include "core/ops/matmul.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

AddmmOptions options(const Args& a) { return {.beta = a.scalar(3), .alpha = a.scalar(4)}; }

constexpr OpSchema kRows[] = {
    {"mm", "input, mat2", [](const Args& a) -> Value { return mm(a.tensor(0), a.tensor(1)); }},
    {"bmm", "input, mat2", [](const Args& a) -> Value { return bmm(a.tensor(0), a.tensor(1)); }},
    {"mv", "input, vec", [](const Args& a) -> Value { return mv(a.tensor(0), a.tensor(1)); }},
    {"dot", "input, tensor", [](const Args& a) -> Value { return dot(a.tensor(0), a.tensor(1)); }},
    {"outer", "input, vec2", [](const Args& a) -> Value { return outer(a.tensor(0), a.tensor(1)); }},
    {"matmul", "input, other", [](const Args& a) -> Value { return matmul(a.tensor(0), a.tensor(1)); }},
    {"linear", "input, weight, bias=None",
     [](const Args& a) -> Value { return linear(a.tensor(0), a.tensor(1), a.optional_tensor(2)); }},
    {"kron", "input, other", [](const Args& a) -> Value { return kron(a.tensor(0), a.tensor(1)); }},
    {"addmm", "input, mat1, mat2, *, beta=1, alpha=1",
     [](const Args& a) -> Value { return addmm(a.tensor(0), a.tensor(1), a.tensor(2), options(a)); },
     [](const Args& a) -> Value {
       Tensor self = a.tensor(0);
       return addmm_(self, a.tensor(1), a.tensor(2), options(a));
     }},
    {"baddbmm", "input, batch1, batch2, *, beta=1, alpha=1",
     [](const Args& a) -> Value { return baddbmm(a.tensor(0), a.tensor(1), a.tensor(2), options(a)); },
     [](const Args& a) -> Value {
       Tensor self = a.tensor(0);
       return baddbmm_(self, a.tensor(1), a.tensor(2), options(a));
     }},
    {"addbmm", "input, batch1, batch2, *, beta=1, alpha=1",
     [](const Args& a) -> Value { return addbmm(a.tensor(0), a.tensor(1), a.tensor(2), options(a)); },
     [](const Args& a) -> Value {
       Tensor self = a.tensor(0);
       return addbmm_(self, a.tensor(1), a.tensor(2), options(a));
     }},
    {"addmv", "input, mat, vec, *, beta=1, alpha=1",
     [](const Args& a) -> Value { return addmv(a.tensor(0), a.tensor(1), a.tensor(2), options(a)); }},
    {"scaled_dot_product_attention",
     "query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None, enable_gqa=False",
     [](const Args& a) -> Value {
       return scaled_dot_product_attention(a.tensor(0), a.tensor(1), a.tensor(2),
                                           {.attn_mask = a.optional_tensor(3),
                                            .dropout_p = a.real(4),
                                            .is_causal = a.flag(5),
                                            .scale = a.optional_real(6),
                                            .enable_gqa = a.flag(7)});
     }},
};

}  // namespace

std::span<const OpSchema> linear_algebra() { return kRows; }

}  // namespace weft::schema
