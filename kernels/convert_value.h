#pragma once
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "core/half.h"

// Elements of every dtype as C++ types, and what becomes of a value in another dtype: one text for all backends.
namespace weft {

/// An element of a bool tensor: true where it is not 0.
struct Bool {
  uint8_t v;
};

template <DType D>
struct ElementOf;
#define WEFT_ELEMENT(d, T)     \
  template <>                  \
  struct ElementOf<DType::d> { \
    using type = T;            \
  };
WEFT_ELEMENT(f32, float)
WEFT_ELEMENT(f64, double)
WEFT_ELEMENT(bf16, BFloat16)
WEFT_ELEMENT(f16, Half)
WEFT_ELEMENT(i8, int8_t)
WEFT_ELEMENT(u8, uint8_t)
WEFT_ELEMENT(i16, int16_t)
WEFT_ELEMENT(i32, int32_t)
WEFT_ELEMENT(i64, int64_t)
WEFT_ELEMENT(bool_, Bool)
#undef WEFT_ELEMENT

template <class T>
inline constexpr bool is_half_type = std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>;

template <class To, class From>
WEFT_FN To convert_value(From x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else if constexpr (is_half_type<From>)
    return convert_value<To>(to_float(x));
  else if constexpr (std::is_same_v<From, Bool>)
    return convert_value<To>(static_cast<uint8_t>(x.v != 0));
  else if constexpr (std::is_same_v<To, Bool>)
    return Bool{static_cast<uint8_t>(x != 0)};
  else if constexpr (std::is_same_v<To, BFloat16>)
    return to_bf16(static_cast<float>(x));
  else if constexpr (std::is_same_v<To, Half>)
    return to_f16(static_cast<float>(x));
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // Through i64, whose range is checked: the conversion itself would be undefined outside it.
    double d = static_cast<double>(x);
    int64_t wide = d >= 9223372036854775808.0    ? INT64_MAX
                   : d >= -9223372036854775808.0 ? static_cast<int64_t>(d)
                   : d < 0                       ? INT64_MIN
                                                 : 0;
    return static_cast<To>(wide);
  } else
    return static_cast<To>(x);
}

}  // namespace weft
