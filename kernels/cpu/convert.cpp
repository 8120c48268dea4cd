#include "kernels/cpu/convert.h"

#include <cstring>
#include <type_traits>

#include "core/half.h"

namespace weft::cpu {
namespace {

struct Bool {
  uint8_t v;
};

template <DType D>
struct Element;
#define WEFT_ELEMENT(d, T)   \
  template <>                \
  struct Element<DType::d> { \
    using type = T;          \
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
constexpr bool is_half = std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>;

template <class To, class From>
inline To convert_one(From x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else if constexpr (is_half<From>)
    return convert_one<To>(to_float(x));
  else if constexpr (std::is_same_v<From, Bool>)
    return convert_one<To>(static_cast<uint8_t>(x.v != 0));
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

template <DType To, DType From>
void convert(void* dst, int64_t ds, const void* src, int64_t ss, int64_t n) {
  using T = typename Element<To>::type;
  using F = typename Element<From>::type;
  T* __restrict d = static_cast<T*>(dst);
  const F* __restrict s = static_cast<const F*>(src);
  if (ds == 1 && ss == 1) {
    if constexpr (To == From)
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
    else
      for (int64_t i = 0; i < n; ++i) d[i] = convert_one<T>(s[i]);
  } else if (ss == 0) {
    const T value = n > 0 ? convert_one<T>(s[0]) : T{};
    for (int64_t i = 0; i < n; ++i) d[i * ds] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) d[i * ds] = convert_one<T>(s[i * ss]);
  }
}

template <DType To>
constexpr ConvertFn row(DType from) {
  constexpr ConvertFn table[kDTypeCount] = {convert<To, DType::f32>,  convert<To, DType::f64>, convert<To, DType::bf16>,
                                            convert<To, DType::f16>,  convert<To, DType::i8>,  convert<To, DType::u8>,
                                            convert<To, DType::i16>,  convert<To, DType::i32>, convert<To, DType::i64>,
                                            convert<To, DType::bool_>};
  return table[static_cast<int>(from)];
}

}  // namespace

ConvertFn converter(DType dst, DType src) {
  switch (dst) {
    case DType::f32:
      return row<DType::f32>(src);
    case DType::f64:
      return row<DType::f64>(src);
    case DType::bf16:
      return row<DType::bf16>(src);
    case DType::f16:
      return row<DType::f16>(src);
    case DType::i8:
      return row<DType::i8>(src);
    case DType::u8:
      return row<DType::u8>(src);
    case DType::i16:
      return row<DType::i16>(src);
    case DType::i32:
      return row<DType::i32>(src);
    case DType::i64:
      return row<DType::i64>(src);
    case DType::bool_:
      return row<DType::bool_>(src);
  }
  return nullptr;
}

}  // namespace weft::cpu
