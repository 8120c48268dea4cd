#include "tools/weft/modules.h"

#include "core/error.h"

namespace weft::tools {

const ModuleRow* find_module(std::string_view name) {
  for (std::span<const ModuleRow> rows : {layer_rows(), simple_rows(), loss_rows(), recurrent_rows()})
    for (const ModuleRow& row : rows)
      if (row.name == name) return &row;
  return nullptr;
}
Built make_module(std::string_view name, std::vector<Value> args, std::vector<NamedValue> kwargs) {
  const ModuleRow* row = find_module(name);
  WEFT_CHECK_TYPE(row, "make_module: there is no module {}", name);
  return row->make(bind_args(row->name, row->params, std::move(args), std::move(kwargs)));
}
Built make_module(const Value& description) {
  std::vector<NamedValue> kwargs;
  for (const auto& [key, value] : description["kwargs"].as_dict()) kwargs.push_back({key.as_string(), value});
  return make_module(description["module"].as_string(), description["args"].as_list(), std::move(kwargs));
}

namespace {

// A number, or one per dimension; none: as not given.
Extents extents(const Args& a, size_t i) { return a.none(i) ? Extents() : Extents(a.dims(i)); }
ConvPadding padding(const Args& a, size_t i) {
  if (a[i].is_string()) return ConvPadding(std::string_view(a.text(i)));
  ConvPadding p;
  p.values = a.dims(i);
  return p;
}

constexpr std::string_view kConv =
    "in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, "
    "padding_mode='zeros', device=None, dtype=None";
template <class M>
Built conv(const Args& a) {
  return unary(M(a.integer(0), a.integer(1), extents(a, 2),
                 {.stride = extents(a, 3),
                  .padding = padding(a, 4),
                  .dilation = extents(a, 5),
                  .groups = a.integer(6),
                  .bias = a.flag(7),
                  .padding_mode = a.text(8)}));
}
constexpr std::string_view kConvTranspose =
    "in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1, "
    "padding_mode='zeros', device=None, dtype=None";
template <class M>
Built conv_transpose(const Args& a) {
  WEFT_CHECK(a.text(9) == "zeros", "ConvTranspose: padding_mode must be \"zeros\"");
  return unary(M(a.integer(0), a.integer(1), extents(a, 2),
                 {.stride = extents(a, 3),
                  .padding = extents(a, 4),
                  .output_padding = extents(a, 5),
                  .groups = a.integer(6),
                  .bias = a.flag(7),
                  .dilation = extents(a, 8)}));
}
constexpr std::string_view kBatchNorm =
    "num_features, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None, bias=True";
constexpr std::string_view kInstanceNorm =
    "num_features, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False, device=None, dtype=None, "
    "bias=True";
template <class M>
Built channel_norm(const Args& a) {
  return unary(M(a.integer(0), {.eps = a.real(1),
                                .momentum = a.optional_real(2),
                                .affine = a.flag(3),
                                .track_running_stats = a.flag(4),
                                .bias = a.flag(7)}));
}
template <class M>
Built dropout(const Args& a) {
  return unary(M(a.real(0)));
}

Built sequential(const Args& a) {
  nn::Sequential s;
  for (const Value& m : a[0].as_list()) make_module(m)->append_to(s);
  return unary(std::move(s));
}

const ModuleRow kRows[] = {
    {"Identity", "*args", [](const Args&) { return unary(nn::Identity()); }},
    {"Linear", "in_features, out_features, bias=True, device=None, dtype=None",
     [](const Args& a) { return unary(nn::Linear(a.integer(0), a.integer(1), {.bias = a.flag(2)})); }},
    {"Bilinear", "in1_features, in2_features, out_features, bias=True, device=None, dtype=None",
     [](const Args& a) { return binary(nn::Bilinear(a.integer(0), a.integer(1), a.integer(2), {.bias = a.flag(3)})); }},
    {"Flatten", "start_dim=1, end_dim=-1",
     [](const Args& a) {
       return unary(nn::Flatten({a.integer(0), a.integer(1)}));
     }},
    {"Unflatten", "dim, unflattened_size", [](const Args& a) { return unary(nn::Unflatten(a.integer(0), a.dims(1))); }},
    {"Conv1d", kConv, conv<nn::Conv1d>},
    {"Conv2d", kConv, conv<nn::Conv2d>},
    {"Conv3d", kConv, conv<nn::Conv3d>},
    {"ConvTranspose1d", kConvTranspose, conv_transpose<nn::ConvTranspose1d>},
    {"ConvTranspose2d", kConvTranspose, conv_transpose<nn::ConvTranspose2d>},
    {"ConvTranspose3d", kConvTranspose, conv_transpose<nn::ConvTranspose3d>},
    {"BatchNorm1d", kBatchNorm, channel_norm<nn::BatchNorm1d>},
    {"BatchNorm2d", kBatchNorm, channel_norm<nn::BatchNorm2d>},
    {"BatchNorm3d", kBatchNorm, channel_norm<nn::BatchNorm3d>},
    {"InstanceNorm1d", kInstanceNorm, channel_norm<nn::InstanceNorm1d>},
    {"InstanceNorm2d", kInstanceNorm, channel_norm<nn::InstanceNorm2d>},
    {"InstanceNorm3d", kInstanceNorm, channel_norm<nn::InstanceNorm3d>},
    {"LayerNorm", "normalized_shape, eps=1e-05, elementwise_affine=True, bias=True, device=None, dtype=None",
     [](const Args& a) {
       return unary(nn::LayerNorm(a.dims(0), {.eps = a.real(1), .elementwise_affine = a.flag(2), .bias = a.flag(3)}));
     }},
    {"GroupNorm", "num_groups, num_channels, eps=1e-05, affine=True, device=None, dtype=None, bias=True",
     [](const Args& a) {
       return unary(
           nn::GroupNorm(a.integer(0), a.integer(1), {.eps = a.real(2), .affine = a.flag(3), .bias = a.flag(6)}));
     }},
    {"RMSNorm", "normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None",
     [](const Args& a) {
       return unary(nn::RMSNorm(a.dims(0), {.eps = a.optional_real(1), .elementwise_affine = a.flag(2)}));
     }},
    {"Embedding",
     "num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, "
     "sparse=False, _weight=None, _freeze=False, device=None, dtype=None",
     [](const Args& a) {
       return unary(nn::Embedding(a.integer(0), a.integer(1),
                                  {.padding_idx = a.optional_integer(2),
                                   .max_norm = a.optional_real(3),
                                   .norm_type = a.real(4),
                                   .scale_grad_by_freq = a.flag(5)}));
     }},
    {"Dropout", "p=0.5, inplace=False", dropout<nn::Dropout>},
    {"Dropout1d", "p=0.5, inplace=False", dropout<nn::Dropout1d>},
    {"Dropout2d", "p=0.5, inplace=False", dropout<nn::Dropout2d>},
    {"Dropout3d", "p=0.5, inplace=False", dropout<nn::Dropout3d>},
    {"AlphaDropout", "p=0.5, inplace=False", dropout<nn::AlphaDropout>},
    {"FeatureAlphaDropout", "p=0.5, inplace=False", dropout<nn::FeatureAlphaDropout>},
    {"Sequential", "*args", sequential},
};

}  // namespace

std::span<const ModuleRow> layer_rows() { return kRows; }

}  // namespace weft::tools
