#pragma once

#include "kernels/convert_value.h"
#if !defined(__CUDACC_RTC__)
#include "kernels/cuda/launch.h"
#endif

// Device code in one copy: a function that is called, a loop that is not unrolled.
#if defined(__CUDACC__)
#define WEFT_CALLED __host__ __device__ __noinline__
#define WEFT_ROLLED _Pragma("unroll 1")
#else
#define WEFT_CALLED inline
#define WEFT_ROLLED
#endif

// Elements as they lie in device memory.
namespace weft::gpu {

using math::i64;
using math::u32;
using math::u64;

/// The dtype of elements of type S; of others one that no tensor has.
template <class S>
inline constexpr DType kDTypeOf = DType(0xff);
template <>
inline constexpr DType kDTypeOf<float> = DType::f32;
template <>
inline constexpr DType kDTypeOf<double> = DType::f64;
template <>
inline constexpr DType kDTypeOf<BFloat16> = DType::bf16;
template <>
inline constexpr DType kDTypeOf<Half> = DType::f16;
template <>
inline constexpr DType kDTypeOf<i64> = DType::i64;
template <>
inline constexpr DType kDTypeOf<Bool> = DType::bool_;

/// What arithmetic on S is done in: halves as float.
template <class S>
struct ComputeType {
  using type = S;
};
template <>
struct ComputeType<BFloat16> {
  using type = float;
};
template <>
struct ComputeType<Half> {
  using type = float;
};
template <class S>
using Wide = typename ComputeType<S>::type;

/// load(x): an element as its compute type; store<S>(v): rounded back.
template <class S>
WEFT_FN Wide<S> load(S x) {
  return convert_value<Wide<S>>(x);
}
template <class S>
WEFT_FN S store(Wide<S> x) {
  return convert_value<S>(x);
}

// 128 bits: what a thread reads or writes at once. Needs 16-byte aligned memory.
template <class S>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(S);
  S v[kCount];
};
inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

template <class T>
struct Type {
  using type = T;
};
/// f(Type<S>{}) with the element type of `t`; the result of f. Only in host code and in kernels of any dtype.
template <class F>
WEFT_FN auto with_dtype(DType t, F&& f) {
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
    default:
      return f(Type<Bool>{});
  }
}
/// The same for f32, f64, bf16 and f16; false: `t` is none of them.
template <class F>
bool with_floating(DType t, F&& f) {
  switch (t) {
    case DType::f32:
      f(Type<float>{});
      return true;
    case DType::f64:
      f(Type<double>{});
      return true;
    case DType::bf16:
      f(Type<BFloat16>{});
      return true;
    case DType::f16:
      f(Type<Half>{});
      return true;
    default:
      return false;
  }
}
/// The same for unsigned integers as wide as the elements: for moves, whose bits are all that counts.
template <class F>
void with_width(DType t, F&& f) {
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

/// Element `index` of memory of any dtype, as a T; and back. Where it is no T it is a call: with ten conversions at
/// every place, they would be most of what nvcc compiles.
template <class T>
WEFT_CALLED T convert_from(const void* data, i64 index, DType dtype) {
  return with_dtype(dtype, [&](auto s) {
    using S = typename decltype(s)::type;
    return convert_value<T>(static_cast<const S*>(data)[index]);
  });
}
template <class T>
WEFT_CALLED void convert_to(void* data, i64 index, DType dtype, T value) {
  with_dtype(dtype, [&](auto s) {
    using S = typename decltype(s)::type;
    static_cast<S*>(data)[index] = convert_value<S>(value);
  });
}
template <class T>
WEFT_FN T load_as(const void* data, i64 index, DType dtype) {
  return dtype == kDTypeOf<T> ? static_cast<const T*>(data)[index] : convert_from<T>(data, index, dtype);
}
template <class T>
WEFT_FN void store_as(void* data, i64 index, DType dtype, T value) {
  if (dtype == kDTypeOf<T>)
    static_cast<T*>(data)[index] = value;
  else
    convert_to<T>(data, index, dtype, value);
}

/// Division of 31-bit numbers by a constant, without dividing.
struct Divider {
  u32 divisor = 1, multiplier = 0, shift = 0;

  Divider() = default;
  explicit Divider(u32 d) : divisor(d) {
    while (shift < 32 && (1ull << shift) < d) ++shift;
    multiplier = u32(((1ull << 32) * ((1ull << shift) - d)) / d + 1);
  }
  WEFT_FN u32 quotient(u32 n) const {
#if defined(__CUDA_ARCH__)
    return (__umulhi(n, multiplier) + n) >> shift;
#else
    return u32((((u64(n) * multiplier) >> 32) + n) >> shift);
#endif
  }
};

/// Blocks of 256 threads for `threads`, at most 32 for each multiprocessor of the largest device; kernels loop.
inline constexpr int kThreads = 256;
inline dim3 grid_for(i64 threads) {
  const i64 blocks = (threads + kThreads - 1) / kThreads;
  return dim3(unsigned(blocks < 1 ? 1 : blocks < 4224 ? blocks : 4224));
}
#define WEFT_FOR_EACH(i, n)                                                            \
  for (::weft::math::i64 i = ::weft::math::i64(blockIdx.x) * blockDim.x + threadIdx.x, \
                         step_ = ::weft::math::i64(gridDim.x) * blockDim.x;            \
       i < (n); i += step_)

}  // namespace weft::gpu
