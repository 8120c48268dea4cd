#pragma once

#include <initializer_list>
#include <utility>

#include "core/ops/record.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/pointwise.h"

// The kernels of a record: f32 and bf16 with 128-bit accesses, and one for any strides and any mix of dtypes.
namespace weft::cuda {

// y = forward(inputs..., params...)
template <class Op>
struct Forward {
  static constexpr int inputs = Op::arity, params = Op::params;
  template <size_t... I, size_t... P>
  WEFT_FN static float apply(const float* x, const float* p, std::index_sequence<I...>, std::index_sequence<P...>) {
    return float(Op::forward(x[I]..., p[P]...));
  }
  WEFT_FN static float apply(const float* x, [[maybe_unused]] const float* p) {
    return apply(x, p, std::make_index_sequence<inputs>{}, std::make_index_sequence<params>{});
  }
};

// The gradient of input `Which` from g and the values that the record needs, in the order a, b, c, y.
template <class Op, int Which>
struct Backward {
  static constexpr unsigned needs = Op::needs[Which];
  WEFT_FN static constexpr int count(unsigned mask) {
    return int(mask & 1) + int(mask >> 1 & 1) + int(mask >> 2 & 1) + int(mask >> 3 & 1);
  }
  static constexpr int inputs = 1 + count(needs), params = Op::params;
  // What the record calls a, b, c or y: it reads only what it needs.
  template <unsigned Bit>
  WEFT_FN static float value(const float* x) {
    if constexpr ((needs & Bit) != 0)
      return x[1 + count(needs & (Bit - 1))];
    else
      return 0.0f;
  }

  template <size_t... I, size_t... P>
  WEFT_FN static float apply(const float* x, const float* p, std::index_sequence<I...>, std::index_sequence<P...>) {
    if constexpr (Op::arity == 1)
      return Op::backward(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
    else if constexpr (Which == 0)
      return Op::backward_a(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
    else if constexpr (Which == 1)
      return Op::backward_b(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
    else
      return Op::backward_c(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
  }
  WEFT_FN static float apply(const float* x, [[maybe_unused]] const float* p) {
    return apply(x, p, std::make_index_sequence<Op::arity>{}, std::make_index_sequence<params>{});
  }
};

template <class F, class S>
struct DenseArguments {
  const S* in[F::inputs];
  S* out;
  i64 n;
  float params[kMaxParams];
};

template <class F, class S>
__global__ void __launch_bounds__(256) dense_kernel(DenseArguments<F, S> a) {
  constexpr int kCount = Pack<S>::kCount;
  i64 packs = a.n / kCount, stride = i64(gridDim.x) * blockDim.x, thread = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  float x[F::inputs];
  for (i64 p = thread; p < packs; p += stride) {
    Pack<S> in[F::inputs], out;
    for (int i = 0; i < F::inputs; ++i) in[i] = reinterpret_cast<const Pack<S>*>(a.in[i])[p];
    for (int k = 0; k < kCount; ++k) {
      for (int i = 0; i < F::inputs; ++i) x[i] = Element<S>::load(in[i].v[k]);
      out.v[k] = Element<S>::store(F::apply(x, a.params));
    }
    reinterpret_cast<Pack<S>*>(a.out)[p] = out;
  }
  for (i64 e = packs * kCount + thread; e < a.n; e += stride) {
    for (int i = 0; i < F::inputs; ++i) x[i] = Element<S>::load(a.in[i][e]);
    a.out[e] = Element<S>::store(F::apply(x, a.params));
  }
}

template <class F>
struct StridedArguments {
  Operand operands[F::inputs + 1];
  i64 sizes[kMaxDims], n;
  int dims;
  float params[kMaxParams];
};

template <class F>
__global__ void __launch_bounds__(256) strided_kernel(StridedArguments<F> a) {
  for (i64 e = i64(blockIdx.x) * blockDim.x + threadIdx.x; e < a.n; e += i64(gridDim.x) * blockDim.x) {
    i64 offsets[F::inputs + 1] = {}, rest = e;
    for (int d = a.dims - 1; d >= 0; --d) {
      i64 quotient = rest / a.sizes[d], index = rest - quotient * a.sizes[d];
      for (int i = 0; i <= F::inputs; ++i) offsets[i] += index * a.operands[i].strides[d];
      rest = quotient;
    }
    float x[F::inputs];
    for (int i = 0; i < F::inputs; ++i) x[i] = load_as_float(a.operands[i].data, offsets[i], a.operands[i].dtype);
    store_float(a.operands[F::inputs].data, offsets[F::inputs], a.operands[F::inputs].dtype, F::apply(x, a.params));
  }
}

// Every operand has dtype S, lies contiguously and is aligned for Pack<S>.
template <class F, class S>
bool is_dense(const PointwiseCall& call) {
  for (int i = 0; i <= F::inputs; ++i) {
    const Operand& o = call.operands[i];
    if (o.dtype != kDTypeOf<S> || reinterpret_cast<uintptr_t>(o.data) % 16 != 0) return false;
    int64_t expected = 1;
    for (int d = call.dims - 1; d >= 0; --d) {
      if (call.sizes[d] != 1 && o.strides[d] != expected) return false;
      expected *= call.sizes[d];
    }
  }
  return true;
}

// Enough blocks of 256 threads for `threads`, at most 32 for each multiprocessor of the largest device; kernels loop.
inline dim3 grid_for(i64 threads) {
  i64 blocks = (threads + 255) / 256;
  return dim3(unsigned(blocks < 4224 ? blocks : 4224));
}

template <class F, class S>
void launch_dense(const PointwiseCall& call, i64 n, Stream stream) {
  DenseArguments<F, S> a{};
  for (int i = 0; i < F::inputs; ++i) a.in[i] = static_cast<const S*>(call.operands[i].data);
  a.out = static_cast<S*>(call.operands[F::inputs].data);
  a.n = n;
  for (int p = 0; p < kMaxParams; ++p) a.params[p] = call.params[p];
  launch(dense_kernel<F, S>, grid_for((n + Pack<S>::kCount - 1) / Pack<S>::kCount), 256, 0, stream, a);
}

template <class F>
void pointwise(const PointwiseCall& call, Stream stream) {
  static_assert(F::inputs < kMaxOperands && F::params <= kMaxParams);
  i64 n = 1;
  for (int d = 0; d < call.dims; ++d) n *= call.sizes[d];
  if (n == 0) return;
  if (is_dense<F, float>(call)) return launch_dense<F, float>(call, n, stream);
  if (is_dense<F, BFloat16>(call)) return launch_dense<F, BFloat16>(call, n, stream);
  StridedArguments<F> a{};
  for (int i = 0; i <= F::inputs; ++i) a.operands[i] = call.operands[i];
  for (int d = 0; d < call.dims; ++d) a.sizes[d] = call.sizes[d];
  a.dims = call.dims;
  a.n = n;
  for (int p = 0; p < kMaxParams; ++p) a.params[p] = call.params[p];
  launch(strided_kernel<F>, grid_for(n), 256, 0, stream, a);
}

template <class Op>
constexpr PointwiseEntry entry(const char* name) {
  PointwiseEntry e{name, pointwise<Forward<Op>>, {}};
  if constexpr (Op::differentiable) {
    e.backward[0] = pointwise<Backward<Op, 0>>;
    if constexpr (Op::arity > 1) e.backward[1] = pointwise<Backward<Op, 1>>;
    if constexpr (Op::arity > 2) e.backward[2] = pointwise<Backward<Op, 2>>;
  }
  return e;
}

}  // namespace weft::cuda
