#pragma once
#include <utility>

#include "core/pointwise.h"

// Derives a PointwiseInfo (loops included) from a record. Included by the kernel families and by users' own ops;
// compile such files with the kernel flags (-O3 -march=native -fno-math-errno -fno-trapping-math -ffp-contract=off).
namespace weft::detail {

// ivdep keeps out == in defined and drops the run-time alias checks that __restrict would make a promise of.
#if defined(__clang__)
#define WEFT_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")
#else
#define WEFT_VECTORIZE _Pragma("GCC ivdep")
#endif

template <class R, int Which, class T, size_t... I, size_t... P>
inline auto apply_record([[maybe_unused]] const T* x, [[maybe_unused]] const T* p, std::index_sequence<I...>,
                         std::index_sequence<P...>) {
  if constexpr (Which < 0)
    return R::forward(x[I]..., p[P]...);
  else if constexpr (R::arity == 1)
    return R::backward(x[I]..., p[P]...);
  else if constexpr (Which == 0)
    return R::backward_a(x[I]..., p[P]...);
  else if constexpr (Which == 1)
    return R::backward_b(x[I]..., p[P]...);
  else
    return R::backward_c(x[I]..., p[P]...);
}

template <class R, int Which>
inline constexpr int inputs_of = Which < 0 ? R::arity : R::arity + 2;

template <class R, int Which, class T>
void record_loop(void* out, const void* const* in, const Scalar* params, int64_t n) {
  constexpr int kIn = inputs_of<R, Which>;
  using Result = decltype(apply_record<R, Which, T>(nullptr, nullptr, std::make_index_sequence<kIn>(),
                                                    std::make_index_sequence<R::params>()));
  using Out = std::conditional_t<std::is_same_v<Result, bool>, uint8_t, T>;
  T p[R::params + 1] = {};
  for (int j = 0; j < R::params; ++j) p[j] = params[j].to<T>();
  const T* x[kIn];
  for (int j = 0; j < kIn; ++j) x[j] = static_cast<const T*>(in[j]);
  Out* y = static_cast<Out*>(out);
  WEFT_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    T v[kIn];
    for (int j = 0; j < kIn; ++j) v[j] = x[j][i];
    y[i] = static_cast<Out>(
        apply_record<R, Which, T>(v, p, std::make_index_sequence<kIn>(), std::make_index_sequence<R::params>()));
  }
}

template <class R, int Which>
constexpr Loops make_loops() {
  Loops l;
  if constexpr (ops::computes_floats<R>) {
    l.f32 = &record_loop<R, Which, float>;
    l.f64 = &record_loop<R, Which, double>;
  }
  if constexpr (Which < 0 && ops::computes_integers<R>) l.i64 = &record_loop<R, Which, int64_t>;
  l.writes_bool = Which < 0 && ops::gives_bool<R>;
  return l;
}

/// The Tensor carrier of R's gradients; defined in autograd/carrier.h, instantiated beside the loops of user ops.
template <class R>
Tensor differentiate(int i, const Tensor* values, const Scalar* params);

template <class R>
constexpr PointwiseInfo make_pointwise_info(const char* name) {
  static_assert(R::arity >= 1 && R::arity <= 3 && R::params <= kMaxParams);
  PointwiseInfo info{};
  info.record.name = name;
  info.record.cast = R::cast;
  info.name = name;
  info.arity = R::arity;
  info.params = R::params;
  info.dtypes = R::dtypes;
  info.promotes = R::promotes;
  info.constants = R::constants;
  info.passes = R::passes;
  info.scales = R::scales;
  info.divides = R::divides;
  info.differentiable = R::differentiable;
  for (int i = 0; i < R::arity; ++i) info.needs[i] = R::needs[i];
  info.forward = make_loops<R, -1>();
  if constexpr (R::differentiable) {
    if constexpr (!(R::constants & 1)) info.backward[0] = make_loops<R, 0>();
    if constexpr (R::arity > 1 && !(R::constants & 2)) info.backward[1] = make_loops<R, 1>();
    if constexpr (R::arity > 2 && !(R::constants & 4)) info.backward[2] = make_loops<R, 2>();
    info.differentiate = &differentiate<R>;
  }
  return info;
}

}  // namespace weft::detail
