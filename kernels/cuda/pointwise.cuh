#pragma once

#include <utility>

#include "core/ops/record.h"
#include "kernels/cuda/loop_operand.h"
#include "kernels/cuda/pairs.cuh"
#if !defined(__CUDACC_RTC__)
#include <span>

#include "core/pointwise.h"
#include "kernels/cuda/strided.h"
#endif

// The kernels of a record: 128-bit accesses where all operands have one dtype (f32, bf16, f16) and lie in rows, and one
// kernel per compute type for any strides and any mix of dtypes. Records of users get theirs at run time from the same
// text, without its host parts (custom_code.h).
namespace weft::gpu {

// y = forward(inputs..., params...)
template <class Op>
struct Forward {
  using Record = Op;
  static constexpr int inputs = Op::arity, params = Op::params;
  static constexpr bool integers = ops::computes_integers<Op>, floats = ops::computes_floats<Op>;
  static constexpr bool gives_bool = ops::gives_bool<Op>;
  static constexpr int slots[] = {0, 1, 2};
  static constexpr bool kMixes = inputs == 2;  // f32 with halves: common under Autocast, worth a kernel
  template <class T, size_t... I, size_t... P>
  WEFT_FN static auto apply(const T* x, const T* p, std::index_sequence<I...>, std::index_sequence<P...>) {
    return Op::forward(x[I]..., p[P]...);
  }
  template <class T>
  WEFT_FN static auto apply(const T* x, [[maybe_unused]] const T* p) {
    return apply(x, p, std::make_index_sequence<inputs>{}, std::make_index_sequence<params>{});
  }
};

// The gradient of input `Which` from g and the values that the record needs, in the order a, b, c, y. Only those are
// read: `slots` says which of the call's g, a, b, c, y they are.
template <class Op, int Which>
struct Backward {
  using Record = Op;
  static constexpr unsigned needs = Op::needs[Which];
  WEFT_FN static constexpr int count(unsigned mask) {
    return int(mask & 1) + int(mask >> 1 & 1) + int(mask >> 2 & 1) + int(mask >> 3 & 1);
  }
  static constexpr int inputs = 1 + count(needs), params = Op::params;
  static constexpr bool integers = false, floats = true, gives_bool = false, kMixes = false;
  struct Slots {
    int at[5] = {};
    constexpr Slots() {
      int n = 1;
      for (int i = 0; i < Op::arity; ++i)
        if (needs >> i & 1) at[n++] = i + 1;
      if (needs & ops::kY) at[n++] = Op::arity + 1;
    }
    constexpr operator const int*() const { return at; }
  };
  static constexpr Slots slots{};
  // What the record calls a, b, c or y: it reads only what it needs.
  template <unsigned Bit, class T>
  WEFT_FN static T value(const T* x) {
    if constexpr ((needs & Bit) != 0)
      return x[1 + count(needs & (Bit - 1))];
    else
      return T(0);
  }

  template <class T, size_t... I, size_t... P>
  WEFT_FN static T apply(const T* x, const T* p, std::index_sequence<I...>, std::index_sequence<P...>) {
    if constexpr (Op::arity == 1)
      return Op::backward(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
    else if constexpr (Which == 0)
      return Op::backward_a(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
    else if constexpr (Which == 1)
      return Op::backward_b(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
    else
      return Op::backward_c(x[0], value<(1u << I)>(x)..., value<ops::kY>(x), p[P]...);
  }
  template <class T>
  WEFT_FN static T apply(const T* x, [[maybe_unused]] const T* p) {
    return apply(x, p, std::make_index_sequence<Op::arity>{}, std::make_index_sequence<params>{});
  }
};

// ---- rows: every operand has dtype S and steps 1 or 0 in the innermost dimension

inline constexpr int kRowDims = 4;

template <int N, class S>
struct RowArguments {
  const void* in[N];  // null: a number
  void* out;
  i64 strides[N][kRowDims];  // of the outer dimensions, and 0 or 1 for the inner one
  Divider sizes[kRowDims];
  int dims;
  u32 packs, n;
  Wide<S> numbers[N];
  Wide<S> params[kMaxParams];
};

// Pack p of every input.
template <int N, class S>
__device__ __forceinline__ void load_packs(const RowArguments<N, S>& a, u32 p, Pack<S>* in) {
  constexpr int kCount = Pack<S>::kCount;
  i64 offsets[N];
#pragma unroll
  for (int i = 0; i < N; ++i) offsets[i] = 0;
  u32 rest = p * kCount;
  WEFT_ROLLED
  for (int d = a.dims - 1; d > 0; --d) {
    const u32 quotient = a.sizes[d].quotient(rest), index = rest - quotient * a.sizes[d].divisor;
#pragma unroll
    for (int i = 0; i < N; ++i) offsets[i] += index * a.strides[i][d];
    rest = quotient;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (a.in[i] == nullptr) continue;
    const S* from = static_cast<const S*>(a.in[i]) + offsets[i] + rest * a.strides[i][0];
    if (a.strides[i][a.dims - 1] == 1) {
      in[i] = *reinterpret_cast<const Pack<S>*>(from);
    } else {
      const S one = *from;
#pragma unroll
      for (int k = 0; k < kCount; ++k) in[i].v[k] = one;
    }
  }
}

template <class F, class S>
__device__ __forceinline__ Pack<S> apply_packs(const RowArguments<F::inputs, S>& a, const Pack<S>* in) {
  Wide<S> out[Pack<S>::kCount];
#pragma unroll
  for (int k = 0; k < Pack<S>::kCount; ++k) {
    Wide<S> x[F::inputs];
#pragma unroll
    for (int i = 0; i < F::inputs; ++i) x[i] = a.in[i] == nullptr ? a.numbers[i] : load<S>(in[i].v[k]);
    out[k] = Wide<S>(F::apply(x, a.params));
  }
  return store_all<S, Pack<S>>(out);
}

template <class F, class S>
__global__ void __launch_bounds__(kThreads) row_kernel(const __grid_constant__ RowArguments<F::inputs, S> a) {
  using T = Wide<S>;
  constexpr int kCount = Pack<S>::kCount;
  constexpr int kTogether = F::inputs == 1 ? 2 : 1;  // 32 bytes on their way for each thread keep the memory busy
  const u32 thread = blockIdx.x * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x;
  for (u32 first = thread; first < a.packs; first += kTogether * stride) {
    Pack<S> in[kTogether][F::inputs];
#pragma unroll
    for (int u = 0; u < kTogether; ++u)
      if (u == 0 || first + u * stride < a.packs) load_packs(a, first + u * stride, in[u]);
#pragma unroll
    for (int u = 0; u < kTogether; ++u)
      if (u == 0 || first + u * stride < a.packs)
        reinterpret_cast<Pack<S>*>(a.out)[first + u * stride] = apply_packs<F, S>(a, in[u]);
  }
  // What is left of one long row.
  const u32 e = a.packs * kCount + thread;
  if (e < a.n) {
    T x[F::inputs];
    for (int i = 0; i < F::inputs; ++i)
      x[i] = a.in[i] == nullptr ? a.numbers[i] : load<S>(static_cast<const S*>(a.in[i])[e * a.strides[i][0]]);
    static_cast<S*>(a.out)[e] = store<S>(F::apply(x, a.params));
  }
}

#if !defined(__CUDACC_RTC__)
template <class S>
bool in_rows(const LoopNest& nest) {
  constexpr int kCount = Pack<S>::kCount;
  if (nest.dims > kRowDims || !nest.dense(0) || nest.operands[0].dtype != kDTypeOf<S>) return false;
  const int last = nest.dims - 1;
  if (nest.dims > 1 && nest.sizes[last] % kCount != 0) return false;
  for (int k = 0; k < nest.count; ++k) {
    const LoopOperand& o = nest.operands[k];
    if (nest.number(k)) continue;
    if (o.dtype != kDTypeOf<S>) return false;
    if (o.strides[last] == 0) continue;
    if (o.strides[last] != 1 || !aligned16(o.data)) return false;
    for (int d = 0; d < last; ++d)
      if (o.strides[d] % kCount != 0) return false;
  }
  return true;
}

template <int N, class S>
RowArguments<N, S> row_arguments(const LoopNest& nest, std::span<const Scalar> params) {
  RowArguments<N, S> a{};
  a.dims = nest.dims;
  a.n = u32(nest.numel);
  a.packs = u32(nest.numel / Pack<S>::kCount);
  a.out = nest.operands[0].data;
  for (int d = 0; d < nest.dims; ++d) a.sizes[d] = Divider(u32(nest.sizes[d]));
  for (int i = 0; i < N; ++i) {
    const LoopOperand& o = nest.operands[i + 1];
    a.in[i] = o.data;
    a.numbers[i] = Wide<S>(o.number);
    for (int d = 0; d < nest.dims; ++d) a.strides[i][d] = o.strides[d];
  }
  for (size_t p = 0; p < params.size(); ++p) a.params[p] = params[p].to<Wide<S>>();
  return a;
}
#endif

// ---- rows of f32 and halves mixed (a residual in f32 plus a product in bf16): four elements a thread

template <int N>
struct MixedArguments {
  LoopOperand operands[N + 1];
  float numbers[N];
  Divider sizes[kRowDims];
  int dims;
  u32 quads;
  float params[kMaxParams];
};

template <class S>
struct alignas(4 * sizeof(S)) Quad {
  S v[4];
};
/// f(Type<S>{}) for f32 and halves.
template <class F>
WEFT_FN void with_f32_or_half(DType t, F&& f) {
  if (t == DType::f32)
    f(Type<float>{});
  else if (t == DType::bf16)
    f(Type<BFloat16>{});
  else
    f(Type<Half>{});
}

template <class F>
__global__ void __launch_bounds__(kThreads) mixed_kernel(const __grid_constant__ MixedArguments<F::inputs> a) {
  for (u32 q = blockIdx.x * blockDim.x + threadIdx.x; q < a.quads; q += gridDim.x * blockDim.x) {
    i64 offsets[F::inputs];
#pragma unroll
    for (int i = 0; i < F::inputs; ++i) offsets[i] = 0;
    u32 rest = q * 4;
    WEFT_ROLLED
    for (int d = a.dims - 1; d >= 0; --d) {
      const u32 quotient = a.sizes[d].quotient(rest), index = rest - quotient * a.sizes[d].divisor;
#pragma unroll
      for (int i = 0; i < F::inputs; ++i) offsets[i] += index * a.operands[i + 1].strides[d];
      rest = quotient;
    }
    float x[4][F::inputs];
#pragma unroll
    for (int i = 0; i < F::inputs; ++i) {
      const LoopOperand& o = a.operands[i + 1];
      if (o.data == nullptr) {
#pragma unroll
        for (int k = 0; k < 4; ++k) x[k][i] = a.numbers[i];
        continue;
      }
      with_f32_or_half(o.dtype, [&](auto s) {
        using S = typename decltype(s)::type;
        const S* from = static_cast<const S*>(o.data) + offsets[i];
        if (o.strides[a.dims - 1] == 1) {
          const auto quad = *reinterpret_cast<const Quad<S>*>(from);
#pragma unroll
          for (int k = 0; k < 4; ++k) x[k][i] = load<S>(quad.v[k]);
        } else {
          const float one = load<S>(*from);
#pragma unroll
          for (int k = 0; k < 4; ++k) x[k][i] = one;
        }
      });
    }
    float y[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) y[k] = F::apply(x[k], a.params);
    with_f32_or_half(a.operands[0].dtype, [&](auto s) {
      using S = typename decltype(s)::type;
      static_cast<Quad<S>*>(a.operands[0].data)[q] = store_all<S, Quad<S>>(y);
    });
  }
}

#if !defined(__CUDACC_RTC__)
inline bool in_mixed_rows(const LoopNest& nest) {
  if (nest.dims > kRowDims || !nest.dense(0) || nest.sizes[nest.dims - 1] % 4 != 0) return false;
  const int last = nest.dims - 1;
  for (int k = 0; k < nest.count; ++k) {
    const LoopOperand& o = nest.operands[k];
    if (nest.number(k)) continue;
    if (o.dtype != DType::f32 && o.dtype != DType::bf16 && o.dtype != DType::f16) return false;
    if (o.strides[last] == 0) continue;
    if (o.strides[last] != 1 || reinterpret_cast<uintptr_t>(o.data) % (4 * itemsize(o.dtype)) != 0) return false;
    for (int d = 0; d < last; ++d)
      if (o.strides[d] % 4 != 0) return false;
  }
  return true;
}

template <int N>
MixedArguments<N> mixed_arguments(const LoopNest& nest, std::span<const Scalar> params) {
  MixedArguments<N> a{};
  a.dims = nest.dims;
  a.quads = u32(nest.numel / 4);
  for (int i = 0; i <= N; ++i) a.operands[i] = nest.operands[i];
  for (int i = 0; i < N; ++i) a.numbers[i] = float(nest.operands[i + 1].number);
  for (int d = 0; d < nest.dims; ++d) a.sizes[d] = Divider(u32(nest.sizes[d]));
  for (size_t p = 0; p < params.size(); ++p) a.params[p] = params[p].to<float>();
  return a;
}
#endif

// ---- anything else

template <class T, int N>
struct StridedArguments {
  LoopOperand operands[N + 1];
  T numbers[N];
  Divider sizes[kMaxDims];
  int dims;
  u32 n;
  bool truth;
  T params[kMaxParams];
};

template <class F, class T>
__global__ void __launch_bounds__(kThreads) strided_kernel(const __grid_constant__ StridedArguments<T, F::inputs> a) {
  WEFT_ROLLED
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    i64 offsets[F::inputs + 1];
    for (int i = 0; i <= F::inputs; ++i) offsets[i] = 0;
    u32 rest = e;
    WEFT_ROLLED
    for (int d = a.dims - 1; d >= 0; --d) {
      const u32 quotient = a.sizes[d].quotient(rest), index = rest - quotient * a.sizes[d].divisor;
#pragma unroll
      for (int i = 0; i <= F::inputs; ++i) offsets[i] += index * a.operands[i].strides[d];
      rest = quotient;
    }
    T x[F::inputs];
#pragma unroll
    for (int i = 0; i < F::inputs; ++i) {
      const LoopOperand& o = a.operands[i + 1];
      if (o.data == nullptr)
        x[i] = a.numbers[i];
      else if (a.truth)
        x[i] = T(load_as<Bool>(o.data, offsets[i + 1], o.dtype).v);
      else
        x[i] = load_as<T>(o.data, offsets[i + 1], o.dtype);
    }
    const auto y = F::apply(x, a.params);
    if constexpr (std::is_same_v<decltype(y), const bool>)
      store_as(a.operands[0].data, offsets[0], a.operands[0].dtype, Bool{uint8_t(y)});
    else
      store_as(a.operands[0].data, offsets[0], a.operands[0].dtype, y);
  }
}

#if !defined(__CUDACC_RTC__)
template <class T, int N>
StridedArguments<T, N> strided_arguments(const LoopNest& nest, bool truth, std::span<const Scalar> params) {
  StridedArguments<T, N> a{};
  a.dims = nest.dims;
  a.n = u32(nest.numel);
  a.truth = truth;
  for (int i = 0; i <= N; ++i) a.operands[i] = nest.operands[i];
  for (int i = 0; i < N; ++i) {
    const LoopOperand& o = nest.operands[i + 1];
    a.numbers[i] = truth ? T(o.number != 0) : std::is_same_v<T, i64> ? T(o.integer) : T(o.number);
  }
  for (int d = 0; d < nest.dims; ++d) a.sizes[d] = Divider(u32(nest.sizes[d]));
  for (size_t p = 0; p < params.size(); ++p) a.params[p] = params[p].to<T>();
  return a;
}

// ---- the choice

/// The kernels of a formula; null: it has none of this kind. Their arguments depend on the number of inputs alone, so
/// that the code around launches is there once for all formulas.
template <int N>
struct PointwiseKernels {
  template <class S>
  using Rows = void (*)(RowArguments<N, S>);
  template <class T>
  using Strided = void (*)(StridedArguments<T, N>);
  Rows<float> rows_f32 = nullptr;
  Rows<BFloat16> rows_bf16 = nullptr;
  Rows<Half> rows_f16 = nullptr;
  void (*mixed)(MixedArguments<N>) = nullptr;
  Strided<float> strided_f32 = nullptr;
  Strided<double> strided_f64 = nullptr;
  Strided<i64> strided_i64 = nullptr;
};

template <class F>
constexpr PointwiseKernels<F::inputs> kernels_of() {
  PointwiseKernels<F::inputs> k;
  if constexpr (F::floats) {
    if constexpr (!F::gives_bool) {
      k.rows_f32 = row_kernel<F, float>;
      k.rows_bf16 = row_kernel<F, BFloat16>;
      k.rows_f16 = row_kernel<F, Half>;
      if constexpr (F::kMixes) k.mixed = mixed_kernel<F>;
    }
    k.strided_f32 = strided_kernel<F, float>;
    k.strided_f64 = strided_kernel<F, double>;
  }
  if constexpr (F::integers) k.strided_i64 = strided_kernel<F, i64>;
  return k;
}

template <int N>
void run_part(const PointwiseKernels<N>& kernels, const LoopNest& nest, DType compute, bool truth,
              std::span<const Scalar> params) {
  const auto rows = [&]<class S>(void (*kernel)(RowArguments<N, S>)) {
    if (kernel == nullptr || !in_rows<S>(nest)) return false;
    const RowArguments<N, S> a = row_arguments<N, S>(nest, params);
    launch(kernel, grid_for(a.packs), kThreads, 0, current_stream(), a);
    return true;
  };
  const auto strided = [&]<class T>(void (*kernel)(StridedArguments<T, N>)) {
    WEFT_ASSERT(kernel != nullptr, "pointwise: no kernel for {}", compute);
    const StridedArguments<T, N> a = strided_arguments<T, N>(nest, truth, params);
    launch(kernel, grid_for(a.n), kThreads, 0, current_stream(), a);
  };
  if (compute == DType::f64) return strided(kernels.strided_f64);
  if (compute != DType::f32) return strided(kernels.strided_i64);
  if (rows(kernels.rows_f32) || rows(kernels.rows_bf16) || rows(kernels.rows_f16)) return;
  if (kernels.mixed != nullptr && !truth && in_mixed_rows(nest)) {
    const MixedArguments<N> a = mixed_arguments<N>(nest, params);
    return launch(kernels.mixed, grid_for(a.quads), kThreads, 0, current_stream(), a);
  }
  strided(kernels.strided_f32);
}
template <int N>
void run_pointwise(const PointwiseKernels<N>& kernels, const int* slots, DType compute, bool truth, const Tensor& out,
                   const Tensor* in, std::span<const Scalar> params) {
  if (out.numel() == 0) return;
  in_parts(make_nest(out, in, slots, N),
           [&](const LoopNest& nest) { run_part(kernels, nest, compute, truth, params); });
}

template <class F>
void pointwise(DType compute, bool truth, const Tensor& out, const Tensor* in, int, const Scalar* params) {
  static_assert(F::inputs < kMaxOperands && F::params <= kMaxParams);
  static constexpr PointwiseKernels<F::inputs> kKernels = kernels_of<F>();
  run_pointwise(kKernels, F::slots, compute, truth, out, in, {params, size_t(F::params)});
}

template <class Op>
void install(const PointwiseInfo& info) {
  info.forward.cuda = pointwise<Forward<Op>>;
  if constexpr (Op::differentiable) {
    if constexpr (!(Op::constants & 1)) info.backward[0].cuda = pointwise<Backward<Op, 0>>;
    if constexpr (Op::arity > 1 && !(Op::constants & 2)) info.backward[1].cuda = pointwise<Backward<Op, 1>>;
    if constexpr (Op::arity > 2 && !(Op::constants & 4)) info.backward[2].cuda = pointwise<Backward<Op, 2>>;
  }
}
#endif

}  // namespace weft::gpu
