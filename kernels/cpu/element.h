#pragma once
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "core/error.h"
#include "core/half.h"

// C++ types of the dtypes, for kernels that are templates over them.
namespace weft::cpu {

template <class T>
struct Type {
  using type = T;
};

/// f(Type<T>{}) with the element type of `t`: float, double, BFloat16, Half, int8_t, uint8_t, int16_t, int32_t,
/// int64_t, bool.
template <class F>
void for_dtype(DType t, F&& f) {
  switch (t) {
    case DType::f32:
      return f(Type<float>{});
    case DType::f64:
      return f(Type<double>{});
    case DType::bf16:
      return f(Type<BFloat16>{});
    case DType::f16:
      return f(Type<Half>{});
    case DType::i8:
      return f(Type<int8_t>{});
    case DType::u8:
      return f(Type<uint8_t>{});
    case DType::i16:
      return f(Type<int16_t>{});
    case DType::i32:
      return f(Type<int32_t>{});
    case DType::i64:
      return f(Type<int64_t>{});
    case DType::bool_:
      return f(Type<bool>{});
  }
}
/// f(Type<U>{}) with an unsigned integer as wide as the elements: for moves, whose bits are all that counts.
template <class F>
void for_width(DType t, F&& f) {
  switch (itemsize(t)) {
    case 1:
      return f(Type<uint8_t>{});
    case 2:
      return f(Type<uint16_t>{});
    case 4:
      return f(Type<uint32_t>{});
    default:
      return f(Type<uint64_t>{});
  }
}

template <class T>
inline constexpr bool is_half = std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>;
/// What arithmetic on T is done in: halves as float.
template <class T>
using Wide = std::conditional_t<is_half<T>, float, T>;

template <class T>
inline Wide<T> widen(T x) {
  if constexpr (is_half<T>)
    return to_float(x);
  else
    return x;
}
template <class T>
inline T narrow(Wide<T> x) {
  if constexpr (std::is_same_v<T, BFloat16>)
    return to_bf16(x);
  else if constexpr (std::is_same_v<T, Half>)
    return to_f16(x);
  else
    return x;
}

}  // namespace weft::cpu
