#pragma once

#include "core/dtype.h"
#include "core/half.h"
#include "kernels/cuda/launch.h"

// Elements as they lie in device memory, computed with as float.
namespace weft::cuda {

using math::i64;

template <class S>
inline constexpr DType kDTypeOf = DType::f32;
template <>
inline constexpr DType kDTypeOf<BFloat16> = DType::bf16;
template <>
inline constexpr DType kDTypeOf<Half> = DType::f16;

template <class S>
struct Element;
template <>
struct Element<float> {
  WEFT_FN static float load(float x) { return x; }
  WEFT_FN static float store(float x) { return x; }
};
template <>
struct Element<BFloat16> {
  WEFT_FN static float load(BFloat16 x) { return to_float(x); }
  WEFT_FN static BFloat16 store(float x) { return to_bf16(x); }
};
template <>
struct Element<Half> {
  WEFT_FN static float load(Half x) { return to_float(x); }
  WEFT_FN static Half store(float x) { return to_f16(x); }
};

// 128 bits: what a thread reads or writes at once. Needs 16-byte aligned memory.
template <class S>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(S);
  S v[kCount];
};

WEFT_FN float load_as_float(const void* data, i64 index, DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return to_float(static_cast<const BFloat16*>(data)[index]);
    case DType::f16:
      return to_float(static_cast<const Half*>(data)[index]);
    default:
      return static_cast<const float*>(data)[index];
  }
}

WEFT_FN void store_float(void* data, i64 index, DType dtype, float value) {
  switch (dtype) {
    case DType::bf16:
      static_cast<BFloat16*>(data)[index] = to_bf16(value);
      break;
    case DType::f16:
      static_cast<Half*>(data)[index] = to_f16(value);
      break;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

}  // namespace weft::cuda
