#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weft {

/// Element types of a tensor. Names as in PyTorch: f32 = torch.float32, bf16 = torch.bfloat16, ...
enum class DType : uint8_t { f32, f64, bf16, f16, i8, u8, i16, i32, i64, bool_ };
inline constexpr int kDTypeCount = 10;

constexpr size_t itemsize(DType t) {
  constexpr uint8_t bytes[kDTypeCount] = {4, 8, 2, 2, 1, 1, 2, 4, 8, 1};
  return bytes[static_cast<int>(t)];
}
constexpr bool is_floating(DType t) { return t <= DType::f16; }
constexpr bool is_integral(DType t) { return t > DType::f16 && t != DType::bool_; }
/// Promotion category: 0 bool, 1 integer, 2 float.
constexpr int category(DType t) { return t == DType::bool_ ? 0 : is_floating(t) ? 2 : 1; }

/// "f32", "bf16", "bool", ... as in error texts.
constexpr std::string_view name(DType t) {
  constexpr std::string_view names[kDTypeCount] = {"f32", "f64", "bf16", "f16", "i8",
                                                   "u8",  "i16", "i32",  "i64", "bool"};
  return names[static_cast<int>(t)];
}
/// "float32", "bfloat16", "bool", ...: PyTorch's names, without "torch.".
constexpr std::string_view torch_name(DType t) {
  constexpr std::string_view names[kDTypeCount] = {"float32", "float64", "bfloat16", "float16", "int8",
                                                   "uint8",   "int16",   "int32",    "int64",   "bool"};
  return names[static_cast<int>(t)];
}
/// The dtype of either spelling ("f32" or "float32"); false when there is none.
bool parse_dtype(std::string_view text, DType& out);

/// The smallest dtype that holds both, by PyTorch's promotion table (torch.promote_types).
DType promote_types(DType a, DType b);

/// dtype of creation functions that are given none, and of integer inputs to floating ops. f32 at start; f32, f64, bf16
/// or f16.
DType default_dtype();
void set_default_dtype(DType t);

}  // namespace weft
