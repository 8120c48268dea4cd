#include "core/ops/batch_norm.h"
#include "core/ops/conv.h"
#include "core/ops/pool.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

Extents extents(const Args& a, size_t i) { return a.none(i) ? Extents() : Extents(a.dims(i)); }

// None entries keep the size of the input.
Extents output_size(const Args& a, size_t i) {
  if (!a[i].is_list()) return a.none(i) ? Extents(kInputSize) : Extents(a.integer(i));
  Dims d;
  for (const Value& v : a[i].as_list()) d.push_back(v.is_none() ? kInputSize : v.as_int(a.label(i)));
  return d;
}

ConvOptions conv_options(const Args& a) {
  ConvOptions o;
  o.stride = extents(a, 3);
  if (a[4].is_string())
    o.padding = std::string_view(a.text(4));
  else
    o.padding.values = a.dims(4);
  o.dilation = extents(a, 5);
  o.groups = a.integer(6);
  return o;
}
ConvTransposeOptions transpose_options(const Args& a) {
  return {.stride = extents(a, 3),
          .padding = extents(a, 4),
          .output_padding = extents(a, 5),
          .groups = a.integer(6),
          .dilation = extents(a, 7)};
}
MaxPoolOptions max_options(const Args& a) {
  return {.stride = extents(a, 2), .padding = extents(a, 3), .dilation = extents(a, 4), .ceil_mode = a.flag(5)};
}
AvgPoolOptions avg_options(const Args& a) {
  return {.stride = extents(a, 2),
          .padding = extents(a, 3),
          .ceil_mode = a.flag(4),
          .count_include_pad = a.flag(5),
          .divisor_override = a.optional_integer(6)};
}
Value with_indices(const std::tuple<Tensor, Tensor>& r, bool wanted) {
  return wanted ? Value::tuple({std::get<0>(r), std::get<1>(r)}) : Value(std::get<0>(r));
}

#define WEFT_ROWS(n)                                                                                              \
  {"conv" #n "d", "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1",                          \
   [](const Args& a) -> Value {                                                                                   \
     return conv##n##d(a.tensor(0), a.tensor(1), a.optional_tensor(2), conv_options(a));                          \
   }},                                                                                                            \
      {"conv_transpose" #n "d",                                                                                   \
       "input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1",                   \
       [](const Args& a) -> Value {                                                                               \
         return conv_transpose##n##d(a.tensor(0), a.tensor(1), a.optional_tensor(2), transpose_options(a));       \
       }},                                                                                                        \
      {"max_pool" #n "d",                                                                                         \
       "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False",           \
       [](const Args& a) -> Value {                                                                               \
         return with_indices(max_pool##n##d_with_indices(a.tensor(0), extents(a, 1), max_options(a)), a.flag(6)); \
       }},                                                                                                        \
      {"adaptive_avg_pool" #n "d", "input, output_size",                                                          \
       [](const Args& a) -> Value { return adaptive_avg_pool##n##d(a.tensor(0), output_size(a, 1)); }},           \
  {                                                                                                               \
    "adaptive_max_pool" #n "d", "input, output_size, return_indices=False", [](const Args& a) -> Value {          \
      return with_indices(adaptive_max_pool##n##d_with_indices(a.tensor(0), output_size(a, 1)), a.flag(2));       \
    }                                                                                                             \
  }

constexpr OpSchema kRows[] = {
    WEFT_ROWS(1),
    WEFT_ROWS(2),
    WEFT_ROWS(3),
    {"avg_pool1d",
     "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None",
     [](const Args& a) -> Value { return avg_pool1d(a.tensor(0), extents(a, 1), avg_options(a)); }},
    {"avg_pool2d",
     "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None",
     [](const Args& a) -> Value { return avg_pool2d(a.tensor(0), extents(a, 1), avg_options(a)); }},
    {"avg_pool3d",
     "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None",
     [](const Args& a) -> Value { return avg_pool3d(a.tensor(0), extents(a, 1), avg_options(a)); }},
    {"batch_norm", "input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05",
     [](const Args& a) -> Value {
       return batch_norm(a.tensor(0), a.optional_tensor(1), a.optional_tensor(2),
                         {a.optional_tensor(3), a.optional_tensor(4), a.flag(5), a.real(6), a.real(7)});
     }},
    {"instance_norm",
     "input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, "
     "eps=1e-05",
     [](const Args& a) -> Value {
       return instance_norm(a.tensor(0), a.optional_tensor(1), a.optional_tensor(2),
                            {a.optional_tensor(3), a.optional_tensor(4), a.flag(5), a.real(6), a.real(7)});
     }},
};
#undef WEFT_ROWS

}  // namespace

std::span<const OpSchema> images() { return kRows; }

}  // namespace weft::schema
