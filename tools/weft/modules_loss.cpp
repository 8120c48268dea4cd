#include "tools/weft/modules.h"

namespace weft::tools {
namespace {

// size_average and reduce, PyTorch's forms of before 0.4, are accepted as none only.
Reduction reduction(const Args& a, size_t i) { return Reduction(a.text(i)); }

const ModuleRow kRows[] = {
    {"CrossEntropyLoss",
     "weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', label_smoothing=0.0",
     [](const Args& a) {
       return binary(nn::CrossEntropyLoss({.weight = a.optional_tensor(0),
                                           .ignore_index = a.integer(2),
                                           .reduction = reduction(a, 4),
                                           .label_smoothing = a.real(5)}));
     }},
    {"NLLLoss", "weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'",
     [](const Args& a) {
       return binary(
           nn::NLLLoss({.weight = a.optional_tensor(0), .ignore_index = a.integer(2), .reduction = reduction(a, 4)}));
     }},
    {"MSELoss", "size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) { return binary(nn::MSELoss({.reduction = reduction(a, 2)})); }},
    {"L1Loss", "size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) { return binary(nn::L1Loss({.reduction = reduction(a, 2)})); }},
    {"SmoothL1Loss", "size_average=None, reduce=None, reduction='mean', beta=1.0",
     [](const Args& a) { return binary(nn::SmoothL1Loss({.reduction = reduction(a, 2), .beta = a.real(3)})); }},
    {"HuberLoss", "reduction='mean', delta=1.0",
     [](const Args& a) { return binary(nn::HuberLoss({.reduction = reduction(a, 0), .delta = a.real(1)})); }},
    {"BCELoss", "weight=None, size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) { return binary(nn::BCELoss({.weight = a.optional_tensor(0), .reduction = reduction(a, 3)})); }},
    {"BCEWithLogitsLoss", "weight=None, size_average=None, reduce=None, reduction='mean', pos_weight=None",
     [](const Args& a) {
       return binary(nn::BCEWithLogitsLoss(
           {.weight = a.optional_tensor(0), .reduction = reduction(a, 3), .pos_weight = a.optional_tensor(4)}));
     }},
    {"KLDivLoss", "size_average=None, reduce=None, reduction='mean', log_target=False",
     [](const Args& a) { return binary(nn::KLDivLoss({.reduction = reduction(a, 2), .log_target = a.flag(3)})); }},
    {"SoftMarginLoss", "size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) { return binary(nn::SoftMarginLoss({.reduction = reduction(a, 2)})); }},
    {"HingeEmbeddingLoss", "margin=1.0, size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) { return binary(nn::HingeEmbeddingLoss({.margin = a.real(0), .reduction = reduction(a, 3)})); }},
    {"MultiMarginLoss", "p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) {
       return binary(nn::MultiMarginLoss(
           {.p = a.integer(0), .margin = a.real(1), .weight = a.optional_tensor(2), .reduction = reduction(a, 5)}));
     }},
    {"MultiLabelMarginLoss", "size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) { return binary(nn::MultiLabelMarginLoss({.reduction = reduction(a, 2)})); }},
    {"MultiLabelSoftMarginLoss", "weight=None, size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) {
       return binary(nn::MultiLabelSoftMarginLoss({.weight = a.optional_tensor(0), .reduction = reduction(a, 3)}));
     }},
    {"PoissonNLLLoss", "log_input=True, full=False, size_average=None, eps=1e-08, reduce=None, reduction='mean'",
     [](const Args& a) {
       return binary(nn::PoissonNLLLoss(
           {.log_input = a.flag(0), .full = a.flag(1), .eps = a.real(3), .reduction = reduction(a, 5)}));
     }},
    {"GaussianNLLLoss", "*, full=False, eps=1e-06, reduction='mean'",
     [](const Args& a) {
       return ternary(nn::GaussianNLLLoss({.full = a.flag(0), .eps = a.real(1), .reduction = reduction(a, 2)}));
     }},
    {"MarginRankingLoss", "margin=0.0, size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) { return ternary(nn::MarginRankingLoss({.margin = a.real(0), .reduction = reduction(a, 3)})); }},
    {"CosineEmbeddingLoss", "margin=0.0, size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) {
       return ternary(nn::CosineEmbeddingLoss({.margin = a.real(0), .reduction = reduction(a, 3)}));
     }},
    {"TripletMarginLoss", "margin=1.0, p=2.0, eps=1e-06, swap=False, size_average=None, reduce=None, reduction='mean'",
     [](const Args& a) {
       return ternary(nn::TripletMarginLoss(
           {.margin = a.real(0), .p = a.real(1), .eps = a.real(2), .swap = a.flag(3), .reduction = reduction(a, 6)}));
     }},
    {"CosineSimilarity", "dim=1, eps=1e-08",
     [](const Args& a) { return binary(nn::CosineSimilarity({.dim = a.integer(0), .eps = a.real(1)})); }},
    {"PairwiseDistance", "p=2.0, eps=1e-06, keepdim=False",
     [](const Args& a) {
       return binary(nn::PairwiseDistance({.p = a.real(0), .eps = a.real(1), .keepdim = a.flag(2)}));
     }},
};

}  // namespace

std::span<const ModuleRow> loss_rows() { return kRows; }

}  // namespace weft::tools
