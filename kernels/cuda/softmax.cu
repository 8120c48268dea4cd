#include "core/ops/softmax.h"

#include "core/error.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.cuh"

// softmax and log_softmax and their gradients: the bits of kernels/cpu/softmax.cpp.
namespace weft::gpu {
namespace {

struct RowArguments {
  const void *a, *b;  // x; or gradient and result
  void* out;
  i64 rows, n, inner;
};

// What a row goes through: term(a, b, m) is summed after `largest` of a is known, value(a, b, term, m, sum) is written.
struct Softmax {
  static constexpr bool kLargest = true, kTwo = false, kHoldsTerm = true;
  template <class T>
  WEFT_FN static T term(T a, T, T m) {
    return weight_of(a - m);
  }
  template <class T>
  WEFT_FN static T finish(T sum) {
    return sum;
  }
  template <class T>
  WEFT_FN static T value(T, T, T term, T, Quotient<T>& by, T) {
    return by(term);
  }
};
struct LogSoftmax {
  static constexpr bool kLargest = true, kTwo = false, kHoldsTerm = false;
  template <class T>
  WEFT_FN static T term(T a, T, T m) {
    return weight_of(a - m);
  }
  template <class T>
  WEFT_FN static T finish(T sum) {
    return math::log(sum);
  }
  template <class T>
  WEFT_FN static T value(T a, T, T, T m, Quotient<T>&, T log_sum) {
    return a - m - log_sum;
  }
};
struct SoftmaxGradient {
  static constexpr bool kLargest = false, kTwo = true, kHoldsTerm = false;
  template <class T>
  WEFT_FN static T term(T g, T y, T) {
    return g * y;
  }
  template <class T>
  WEFT_FN static T finish(T sum) {
    return sum;
  }
  template <class T>
  WEFT_FN static T value(T g, T y, T, T, Quotient<T>&, T sum) {
    return y * (g - sum);
  }
};
struct LogSoftmaxGradient {
  static constexpr bool kLargest = false, kTwo = true, kHoldsTerm = false;
  template <class T>
  WEFT_FN static T term(T g, T, T) {
    return g;
  }
  template <class T>
  WEFT_FN static T finish(T sum) {
    return sum;
  }
  template <class T>
  WEFT_FN static T value(T g, T y, T, T, Quotient<T>&, T sum) {
    return g - math::exp(y) * sum;
  }
};

template <class Op, class S, class Config>
__global__ void __launch_bounds__(kHeldThreads) held_rows(RowArguments a) {
  using T = Wide<S>;
  WEFT_SHARED(T[2 * kHeldBlocks], shared);
  RowPlace<Config> at(a.n);
  if (at.row >= a.rows) at.row = a.rows - 1, at.count = 0;
  const int blocks = int(reduction::block_count(a.n));
  HeldRow<Config, S> x, y;
  x.read(at, static_cast<const S*>(a.a) + at.row * a.n, Op::kLargest ? reduction::lowest(T(0)) : T(0));
  if constexpr (Op::kTwo) y.read(at, static_cast<const S*>(a.b) + at.row * a.n, T(0));
  auto second = [&](int s, int k) { return Op::kTwo ? y.at(s, k) : T(0); };
  T m = T(0);
  if constexpr (Op::kLargest)
    m = row_total_of<Config, Largest<T>>(shared, blocks, [&](int s, int k) { return x.at(s, k); });
  T terms[Op::kHoldsTerm ? Config::kSteps : 1][Config::kWide];
  T lanes[Config::kWide];
#pragma unroll
  for (int k = 0; k < Config::kWide; ++k) lanes[k] = T(0);
    // No condition on the place: beyond the row terms are 0, and the compiler would wait for each load beside its use.
#pragma unroll
  for (int s = 0; s < Config::kSteps; ++s)
#pragma unroll
    for (int k = 0; k < Config::kWide; ++k) {
      const T term = Op::term(x.at(s, k), second(s, k), m);
      if constexpr (Op::kHoldsTerm) terms[s][k] = term;
      lanes[k] = lanes[k] + term;
    }
  const T sum = Op::finish(row_total<Config, reduction::Sum<T>>(lanes, shared + kHeldBlocks, blocks));
  Quotient<T> by(sum);
  S* out = static_cast<S*>(a.out) + at.row * a.n;
  write_row(at, out, [&](int s, int k, int) {
    if constexpr (Op::kHoldsTerm)
      return Op::value(T(0), T(0), terms[s][k], m, by, sum);
    else
      return Op::value(x.at(s, k), second(s, k), T(0), m, by, sum);
  });
  if constexpr (Op::kHoldsTerm)
    if (!by.exact()) write_row(at, out, [&](int s, int k, int) { return terms[s][k] / sum; });
}

template <class Op, class S>
__global__ void __launch_bounds__(kLongThreads) long_rows(RowArguments a) {
  using T = Wide<S>;
  WEFT_SHARED(T[32], shared);
  const i64 at = i64(blockIdx.x) * a.n;
  const S *x = static_cast<const S*>(a.a) + at, *y = static_cast<const S*>(a.b) + at;
  auto second = [&](i64 i) { return Op::kTwo ? load(y[i]) : T(0); };
  T m = T(0);
  if constexpr (Op::kLargest) m = block_unordered<Largest<T>, T>(a.n, shared, [&](i64 i) { return load(x[i]); });
  auto term = [&](i64 i) { return Op::term(load(x[i]), second(i), m); };
  const T sum = Op::finish(block_row<reduction::Sum<T>, T>(a.n, shared, term));
  Quotient<T> by(sum);
  S* out = static_cast<S*>(a.out) + at;
  for (i64 i = threadIdx.x; i < a.n; i += kLongThreads)
    out[i] = store<S>(Op::value(load(x[i]), second(i), Op::kHoldsTerm ? term(i) : T(0), m, by, sum));
  if constexpr (Op::kHoldsTerm)
    if (!by.exact())
      for (i64 i = threadIdx.x; i < a.n; i += kLongThreads) out[i] = store<S>(term(i) / sum);
}

template <class Op, class S>
__global__ void __launch_bounds__(kColumnThreads) columns(RowArguments a) {
  using T = Wide<S>;
  WEFT_SHARED(ColumnShared<T>, shared);
  const ColumnPlace at(a.rows, a.n, a.inner);
  const S *x = static_cast<const S*>(a.a) + at.base, *y = static_cast<const S*>(a.b) + at.base;
  auto first = [&](i64 i) { return load(x[i * a.inner]); };
  auto second = [&](i64 i) { return Op::kTwo ? load(y[i * a.inner]) : T(0); };
  T m = T(0);
  if constexpr (Op::kLargest) m = column_total<Largest<T>, T>(at, a.n, shared, first);
  auto term = [&](i64 i) { return Op::term(first(i), second(i), m); };
  const T sum = Op::finish(column_total<reduction::Sum<T>, T>(at, a.n, shared, term));
  if (!at.inside) return;
  Quotient<T> by(sum);
  S* out = static_cast<S*>(a.out) + at.base;
  for (i64 i = at.lane; i < a.n; i += 32)
    out[i * a.inner] = store<S>(Op::value(first(i), second(i), Op::kHoldsTerm ? term(i) : T(0), m, by, sum));
  if constexpr (Op::kHoldsTerm)
    if (!by.exact())
      for (i64 i = at.lane; i < a.n; i += 32) out[i * a.inner] = store<S>(term(i) / sum);
}

template <class Op>
void along(const OpCall& c) {
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  const RowShape shape(out.sizes(), c.as<SoftmaxAttrs>().dim);
  Tensor in[2], result = out;
  // Another dtype than the result's: in the compute type, rounded at the end.
  bool same = true;
  for (int k = 0; k < (Op::kTwo ? 2 : 1); ++k) same = same && c.in[k].dtype() == out.dtype();
  const DType wide = out.dtype() == DType::f64 ? DType::f64 : DType::f32;
  for (int k = 0; k < (Op::kTwo ? 2 : 1); ++k) in[k] = dense_as(c.in[k], same ? out.dtype() : wide);
  if (!same && out.dtype() != wide) result = detail::allocate(out.sizes(), wide, out.device());
  RowArguments a{
      in[0].impl()->data, Op::kTwo ? in[1].impl()->data : nullptr, result.impl()->data, shape.rows(), shape.n,
      shape.inner};
  const bool known = with_floating(result.dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    if (shape.inner > 1) return launch(columns<Op, S>, column_grid(a.rows), kColumnThreads, 0, current_stream(), a);
    const bool aligned = aligned16(a.a) && aligned16(a.out) && (!Op::kTwo || aligned16(a.b));
    const bool held = with_row_config < S,
               Op::kTwo ? 2 : 1 > (a.rows, a.n, aligned, [&](auto config, dim3 grid, dim3 block) {
                                launch(held_rows<Op, S, decltype(config)>, grid, block, 0, current_stream(), a);
                              });
    if (!held) launch(long_rows<Op, S>, dim3(unsigned(a.rows)), kLongThreads, 0, current_stream(), a);
  });
  if (!known) WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, out.dtype());
  if (result.impl() != out.impl()) {
    NoGrad guard;
    Tensor to = out;
    to.copy_(result);
  }
}

}  // namespace

void softmax(const OpCall& c) { along<Softmax>(c); }
void log_softmax(const OpCall& c) { along<LogSoftmax>(c); }
void softmax_backward(const OpCall& c) { along<SoftmaxGradient>(c); }
void log_softmax_backward(const OpCall& c) { along<LogSoftmaxGradient>(c); }

}  // namespace weft::gpu
