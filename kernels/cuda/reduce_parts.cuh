#pragma once

#include "core/reduction_order.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/reduce.cuh"

// What the reductions are made of: where elements lie, what is done to them before they are combined, and what becomes
// of a result.
namespace weft::gpu {

namespace order = reduction;

__extension__ typedef unsigned __int128 u128;

/// Division of indices below 2^40 by a constant, without dividing.
struct Quotient {
  i64 by = 1;
  u64 multiplier = 0;
  int shift = 0;

  Quotient() = default;
  explicit Quotient(i64 divisor) : by(divisor < 1 ? 1 : divisor) {
    int log = 0;
    while ((i64{1} << log) < by) ++log;
    shift = log > 24 ? log - 24 : 0;
    if (by > 1) multiplier = u64((u128(1) << (64 + shift)) / u64(by)) + 1;
  }
  WEFT_FN i64 of(i64 x) const {
    if (by == 1) return x;
#if defined(__CUDA_ARCH__)
    return i64(__umul64hi(u64(x), multiplier) >> shift);
#else
    return i64(u64(u128(u64(x)) * multiplier >> 64) >> shift);
#endif
  }
};

/// Where the i-th element of a nest of dimensions lies, in elements.
struct Steps {
  Quotient sizes[kMaxDims];
  i64 strides[kMaxDims];
  int dims = 1;

  WEFT_FN i64 offset(i64 i) const {
    if (dims == 1) return i * strides[0];
    i64 at = 0;
    WEFT_ROLLED
    for (int d = dims - 1; d > 0; --d) {
      const i64 quotient = sizes[d].of(i);
      at += (i - quotient * sizes[d].by) * strides[d];
      i = quotient;
    }
    return at + i * strides[0];
  }
};

/// An element of a dtype that only the launch knows.
struct AnyElement {};

template <class S, int V>
struct alignas(sizeof(S) * V > 16 ? 16 : sizeof(S) * V) Elements {
  S v[V];
};

/// A value and where it was found.
template <class T>
struct Found {
  T value;
  i64 index;
};

template <class Acc>
struct NumberType {
  using type = Acc;
};
template <class T>
struct NumberType<Found<T>> {
  using type = T;
};
template <class Acc>
using NumberOf = typename NumberType<Acc>::type;

template <class Acc>
__device__ __forceinline__ Acc shuffle_down(Acc value, int by) {
  return __shfl_down_sync(kWholeWarp, value, by);
}
template <class T>
__device__ __forceinline__ Found<T> shuffle_down(Found<T> found, int by) {
  return {__shfl_down_sync(kWholeWarp, found.value, by), __shfl_down_sync(kWholeWarp, found.index, by)};
}

/// Turns the order of values around: the largest of turned values, turned again, has the bits of the smallest value.
template <class T>
WEFT_FN T turn(T x) {
  if constexpr (std::is_same_v<T, i64>)
    return ~x;
  else if constexpr (std::is_same_v<T, u32>)  // a truth
    return 1 - x;
  else
    return -x;
}

/// What the kernels of Reduction::turned() take elements for, one for the largest and the smallest: turned where the
/// parameter is 0.
template <class T, class Number>
WEFT_FN T turn_where_asked(T x, Number parameter) {
  return parameter == Number(0) ? turn(x) : x;
}

// ---- what is combined: Value is what an element is converted to, take() makes an Acc of it. Again combines the
// results of blocks.

template <class Combining, class A>
struct AsIs {
  using Acc = A;
  using Value = A;
  using Combine = Combining;
  using Again = AsIs;
  static constexpr bool kCentred = false, kHeavy = false;
  WEFT_FN static Acc take(Value x, i64, NumberOf<A>, NumberOf<A>) { return x; }
};

template <class A>
struct Extreme : AsIs<order::Max<A>, A> {
  using Again = AsIs<order::Max<A>, A>;
  WEFT_FN static A take(A x, i64, A, A parameter) { return turn_where_asked(x, parameter); }
};

template <class A>
struct AbsoluteExtreme : AsIs<order::Max<A>, A> {
  using Again = AsIs<order::Max<A>, A>;
  WEFT_FN static A take(A x, i64, A, A parameter) { return turn_where_asked(math::abs(x), parameter); }
};

template <class Combining, class A>
struct Truth : AsIs<Combining, A> {
  using Value = Bool;
  using Again = AsIs<Combining, A>;
  WEFT_FN static A take(Bool x, i64, A, A) { return A(x.v != 0); }
};

template <class Combining, class A>
struct Absolute : AsIs<Combining, A> {
  using Again = AsIs<Combining, A>;
  WEFT_FN static A take(A x, i64, A, A) { return math::abs(x); }
};

template <class Combining, class A>
struct Square : AsIs<Combining, A> {
  using Again = AsIs<Combining, A>;
  WEFT_FN static A take(A x, i64, A, A) { return x * x; }
};

template <class Combining, class A>
struct Power : AsIs<Combining, A> {
  using Again = AsIs<Combining, A>;
  static constexpr bool kHeavy = true;
  WEFT_FN static A take(A x, i64, A, A parameter) { return math::pow(math::abs(x), parameter); }
};

template <class Combining, class A>
struct CentredSquare : AsIs<Combining, A> {
  using Again = AsIs<Combining, A>;
  static constexpr bool kCentred = true;
  WEFT_FN static A take(A x, i64, A centre, A) { return (x - centre) * (x - centre); }
};

template <class Combining, class A>
struct CentredExp : AsIs<Combining, A> {
  using Again = AsIs<Combining, A>;
  static constexpr bool kCentred = true, kHeavy = true;
  WEFT_FN static A take(A x, i64, A centre, A) { return math::exp(x - centre); }
};

// ---- what becomes of a result

enum class Ending : int {
  none,
  divide,       ///< / number
  root,         ///< sqrt
  divide_root,  ///< sqrt(/ number)
  finite,       ///< infinities become 0
};

template <class Acc>
struct Ends {
  using Number = NumberOf<Acc>;
  void* out = nullptr;  ///< null: not wanted
  i64* indices = nullptr;
  Number* kept = nullptr;          ///< unrounded, too
  const Number* centre = nullptr;  ///< one per result
  Number number = Number(1);
  bool turned = false;  ///< back again, before anything else
  Ending how = Ending::none;
  DType dtype = DType::f32;
};

template <class Acc>
WEFT_FN Acc end_of(const Ends<Acc>& e, Acc v) {
  if (e.turned) v = turn(v);
  if constexpr (std::is_floating_point_v<Acc>) {
    if (e.how == Ending::divide || e.how == Ending::divide_root) v = v / e.number;
    if (e.how == Ending::root || e.how == Ending::divide_root) v = math::sqrt(v);
    if (e.how == Ending::finite && math::isinf(v)) v = Acc(0);
  }
  return v;
}

template <int V, class T>
WEFT_FN void put_values(void* out, i64 first, DType dtype, const T* v) {
  if constexpr (std::is_same_v<T, float>)
    if (dtype == DType::bf16) {
      for (int k = 0; k < V; ++k) static_cast<BFloat16*>(out)[first + k] = to_bf16(v[k]);
      return;
    }
  for (int k = 0; k < V; ++k) store_as(out, first + k, dtype, v[k]);
}

/// Takes results first ... first + V - 1.
template <int V, class Acc>
WEFT_FN void put(const Ends<Acc>& e, i64 first, const Acc* values) {
  Acc v[V];
  for (int k = 0; k < V; ++k) v[k] = end_of(e, values[k]);
  if (e.kept != nullptr)
    for (int k = 0; k < V; ++k) e.kept[first + k] = v[k];
  if (e.out != nullptr) put_values<V>(e.out, first, e.dtype, v);
}
template <int V, class T>
WEFT_FN void put(const Ends<Found<T>>& e, i64 first, const Found<T>* found) {
  for (int k = 0; k < V; ++k) e.indices[first + k] = found[k].index;
  if (e.out == nullptr) return;
  T v[V];
  for (int k = 0; k < V; ++k) v[k] = e.turned ? turn(found[k].value) : found[k].value;
  put_values<V>(e.out, first, e.dtype, v);
}

}  // namespace weft::gpu
