#include "core/ops/loss_api.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

// loss(input, target, weight=None, reduction="mean")
#define WEFT_WEIGHTED_LOSS(name)                                                           \
  {                                                                                        \
#name, "input, target, *, weight=None, reduction='mean'",                                \
   [](const Args& a) -> Value { return name(a.tensor(0), a.tensor(1), {.weight = a.optional_tensor(2), .reduction = a.text(3)}); } \
  }
// loss(input, target, reduction="mean")
#define WEFT_PLAIN_LOSS(name)                                                                           \
  {                                                                                                     \
#name, "input, target, *, reduction='mean'",                                                        \
        [](const Args& a) -> Value { return name(a.tensor(0), a.tensor(1), {.reduction = a.text(2)}); } \
  }
// loss(x1, x2, target, margin=0, reduction="mean")
#define WEFT_PAIR_LOSS(name)                                                 \
  {                                                                          \
#name, "input1, input2, target, margin=0.0, *, reduction='mean'",          \
   [](const Args& a) -> Value { return name(a.tensor(0), a.tensor(1), a.tensor(2), {.margin = a.real(3), .reduction = a.text(4)}); } \
  }

constexpr OpSchema kRows[] = {
    WEFT_WEIGHTED_LOSS(mse_loss),
    WEFT_WEIGHTED_LOSS(l1_loss),
    WEFT_WEIGHTED_LOSS(binary_cross_entropy),
    WEFT_WEIGHTED_LOSS(multilabel_soft_margin_loss),
    WEFT_PLAIN_LOSS(soft_margin_loss),
    WEFT_PLAIN_LOSS(multilabel_margin_loss),
    WEFT_PAIR_LOSS(margin_ranking_loss),
    WEFT_PAIR_LOSS(cosine_embedding_loss),
    {"smooth_l1_loss", "input, target, *, reduction='mean', beta=1.0",
     [](const Args& a) -> Value {
       return smooth_l1_loss(a.tensor(0), a.tensor(1), {.reduction = a.text(2), .beta = a.real(3)});
     }},
    {"huber_loss", "input, target, reduction='mean', delta=1.0, weight=None",
     [](const Args& a) -> Value {
       return huber_loss(a.tensor(0), a.tensor(1),
                         {.reduction = a.text(2), .delta = a.real(3), .weight = a.optional_tensor(4)});
     }},
    {"binary_cross_entropy_with_logits", "input, target, weight=None, *, reduction='mean', pos_weight=None",
     [](const Args& a) -> Value {
       return binary_cross_entropy_with_logits(
           a.tensor(0), a.tensor(1),
           {.weight = a.optional_tensor(2), .reduction = a.text(3), .pos_weight = a.optional_tensor(4)});
     }},
    {"kl_div", "input, target, *, reduction='mean', log_target=False",
     [](const Args& a) -> Value {
       return kl_div(a.tensor(0), a.tensor(1), {.reduction = a.text(2), .log_target = a.flag(3)});
     }},
    {"nll_loss", "input, target, weight=None, *, ignore_index=-100, reduction='mean'",
     [](const Args& a) -> Value {
       return nll_loss(a.tensor(0), a.tensor(1),
                       {.weight = a.optional_tensor(2), .ignore_index = a.integer(3), .reduction = a.text(4)});
     }},
    {"cross_entropy", "input, target, weight=None, *, ignore_index=-100, reduction='mean', label_smoothing=0.0",
     [](const Args& a) -> Value {
       return cross_entropy(a.tensor(0), a.tensor(1),
                            {.weight = a.optional_tensor(2),
                             .ignore_index = a.integer(3),
                             .reduction = a.text(4),
                             .label_smoothing = a.real(5)});
     }},
    {"hinge_embedding_loss", "input, target, margin=1.0, *, reduction='mean'",
     [](const Args& a) -> Value {
       return hinge_embedding_loss(a.tensor(0), a.tensor(1), {.margin = a.real(2), .reduction = a.text(3)});
     }},
    {"triplet_margin_loss", "anchor, positive, negative, margin=1.0, p=2, eps=1e-06, swap=False, *, reduction='mean'",
     [](const Args& a) -> Value {
       return triplet_margin_loss(
           a.tensor(0), a.tensor(1), a.tensor(2),
           {.margin = a.real(3), .p = a.real(4), .eps = a.real(5), .swap = a.flag(6), .reduction = a.text(7)});
     }},
    {"multi_margin_loss", "input, target, p=1, margin=1.0, weight=None, *, reduction='mean'",
     [](const Args& a) -> Value {
       return multi_margin_loss(
           a.tensor(0), a.tensor(1),
           {.p = a.integer(2), .margin = a.real(3), .weight = a.optional_tensor(4), .reduction = a.text(5)});
     }},
    {"poisson_nll_loss", "input, target, log_input=True, full=False, *, eps=1e-08, reduction='mean'",
     [](const Args& a) -> Value {
       return poisson_nll_loss(a.tensor(0), a.tensor(1),
                               {.log_input = a.flag(2), .full = a.flag(3), .eps = a.real(4), .reduction = a.text(5)});
     }},
    {"gaussian_nll_loss", "input, target, var, full=False, eps=1e-06, reduction='mean'",
     [](const Args& a) -> Value {
       return gaussian_nll_loss(a.tensor(0), a.tensor(1), a.tensor(2),
                                {.full = a.flag(3), .eps = a.real(4), .reduction = a.text(5)});
     }},
};

}  // namespace

std::span<const OpSchema> losses() { return kRows; }

}  // namespace weft::schema
