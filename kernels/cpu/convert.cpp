#include "kernels/cpu/convert.h"

#include <algorithm>
#include <cstring>

#include "kernels/convert_value.h"

namespace weft::cpu {
namespace {

template <DType To, DType From>
void convert(void* dst, int64_t ds, const void* src, int64_t ss, int64_t n) {
  using T = typename ElementOf<To>::type;
  using F = typename ElementOf<From>::type;
  T* __restrict d = static_cast<T*>(dst);
  const F* __restrict s = static_cast<const F*>(src);
  if (ds == 1 && ss == 1) {
    if constexpr (To == From) {
      if (n > 0) std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) d[i] = convert_value<T>(s[i]);
    }
  } else if (ss == 0) {
    const T value = n > 0 ? convert_value<T>(s[0]) : T{};
    if (ds == 1)
      std::fill_n(d, n, value);
    else
      for (int64_t i = 0; i < n; ++i) d[i * ds] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) d[i * ds] = convert_value<T>(s[i * ss]);
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
