#pragma once

#include "core/ops/reduce.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/reduce_run.cuh"

// What the files of reductions share. A kernel for a type of elements of its own costs nvcc a second or two for each
// combination: there is one where training meets it.
namespace weft::gpu {

template <class T>
inline constexpr DType kAccumulator = std::is_same_v<T, float>    ? DType::f32
                                      : std::is_same_v<T, double> ? DType::f64
                                                                  : DType::i64;

template <class Acc>
Ends<Acc> ends_in(const Tensor& out) {
  Ends<Acc> ends;
  if (!out.defined()) return ends;
  ends.out = out.impl()->data;
  ends.dtype = out.dtype();
  return ends;
}

/// f(Type<Acc>{}) with what values of `dtype` are combined in.
template <class F>
void with_accumulator(DType dtype, F&& f) {
  switch (cpu::accumulator(dtype)) {
    case DType::f32:
      return f(Type<float>{});
    case DType::f64:
      return f(Type<double>{});
    default:
      return f(Type<i64>{});
  }
}

/// Sums of elements as they are (reduce_sum.cu), and the largest or, turned, the smallest of them (reduce_extreme.cu).
void reduce_sums(const Reduction<float>& r);
void reduce_sums(const Reduction<double>& r);
void reduce_sums(const Reduction<i64>& r);
void reduce_extremes(const Reduction<float>& r);
void reduce_extremes(const Reduction<double>& r);
void reduce_extremes(const Reduction<i64>& r);

}  // namespace weft::gpu
