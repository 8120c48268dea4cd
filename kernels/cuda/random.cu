#include "core/ops/random.h"

#include "core/ops/philox.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/fault.h"
#include "kernels/cuda/kernels.h"

// Fills with random numbers: a thread makes the values of one counter, which lie 16 elements apart (core/ops/philox.h).
namespace weft::gpu {
namespace {

using rng::open_unit;
using rng::unit;

/// The words of a counter as W: four of 32 bits, or two of 64.
template <class W>
inline constexpr int kValues = 16 / sizeof(W);
template <class W>
WEFT_FN void draw(u64 seed, u64 counter, W* w) {
  const rng::Words words = rng::philox(seed, counter);
#pragma unroll
  for (int v = 0; v < kValues<W>; ++v) {
    if constexpr (sizeof(W) == 4)
      w[v] = words.w[v];
    else
      w[v] = u64(words.w[2 * v]) << 32 | words.w[2 * v + 1];
  }
}
/// The first element of a counter.
template <class W>
WEFT_FN i64 first_element(i64 counter) {
  return (counter >> 4) * (16 * kValues<W>)+(counter & 15);
}
template <class W>
i64 counters_for(i64 n) {
  constexpr i64 kGroup = 16 * kValues<W>;
  return (n + kGroup - 1) / kGroup * 16;
}

// ---- distributions

template <class W, class T>
WEFT_FN T inner_unit(W w) {
  constexpr T kTop = T(1) - (sizeof(T) == 4 ? T(5.9604644775390625e-08) : T(1.1102230246251565e-16));
  const T u = open_unit(w);
  return u < kTop ? u : kTop;
}

/// The values of one counter: finish(z) of standard normals z, or one(word) each.
template <class W, class T, class F>
WEFT_FN void make(const F& f, const W* w, T* y) {
  if constexpr (requires { f.finish(T(0)); }) {
#pragma unroll
    for (int v = 0; v < kValues<W>; v += 2) {
      T z0, z1;
      rng::normal_pair(w[v], w[v + 1], z0, z1);
      y[v] = f.finish(z0);
      y[v + 1] = f.finish(z1);
    }
  } else {
#pragma unroll
    for (int v = 0; v < kValues<W>; ++v) y[v] = f.one(w[v]);
  }
}

template <class W, class T>
struct Uniform {
  W bits;
  T width, from;
  WEFT_FN T one(W w) const { return unit(W(w & bits)) * width + from; }
};
template <class W, class T>
struct Normal {
  T std, mean;
  WEFT_FN T finish(T z) const { return z * std + mean; }
};
template <class W, class T>
struct LogNormal {
  T std, mean;
  WEFT_FN T finish(T z) const { return math::exp(z * std + mean); }
};
template <class W, class T>
struct Exponential {
  T lambda;
  WEFT_FN T one(W w) const { return -math::log(inner_unit<W, T>(w)) / lambda; }
};
template <class W, class T>
struct Cauchy {
  T median, sigma;
  WEFT_FN T one(W w) const {
    return median + sigma * math::tan(T(3.14159265358979323846) * (inner_unit<W, T>(w) - T(0.5)));
  }
};
template <class W, class T>
struct Geometric {
  T scale;
  WEFT_FN T one(W w) const { return math::ceil(math::log(inner_unit<W, T>(w)) / scale); }
};
template <class W, class T>
struct Bernoulli {
  T p;
  WEFT_FN T one(W w) const { return T(unit(w) < p); }
};
template <class W>
struct Integers {
  i64 low;
  u64 range;
  WEFT_FN i64 one(W w) const {
    if constexpr (sizeof(W) == 4)
      return low + i64(w * range >> 32);
    else
      return low + i64(range == 0 ? w : rng::below(w, range));
  }
};

// ---- fills

struct FillArguments {
  void* out;
  DType dtype;
  int dims;  // 0: one run of memory
  i64 n, counters;
  u64 seed, offset;
  i64 sizes[kMaxDims], strides[kMaxDims];
};
struct AnyType {};

template <class W, class T, class S, class F>
__global__ void __launch_bounds__(kThreads) fill_random(FillArguments a, F f) {
  WEFT_FOR_EACH(counter, a.counters) {
    W w[kValues<W>];
    T y[kValues<W>];
    draw(a.seed, a.offset + u64(counter), w);
    make(f, w, y);
    const i64 first = first_element<W>(counter);
#pragma unroll
    for (int v = 0; v < kValues<W>; ++v) {
      const i64 e = first + 16 * v;
      if (e >= a.n) continue;
      i64 to = a.dims == 0 ? e : 0, rest = e;
      for (int d = a.dims - 1; d >= 0; --d) {
        const i64 quotient = rest / a.sizes[d];
        to += (rest - quotient * a.sizes[d]) * a.strides[d];
        rest = quotient;
      }
      if constexpr (std::is_same_v<S, AnyType>)
        store_as(a.out, to, a.dtype, y[v]);
      else
        static_cast<S*>(a.out)[to] = convert_value<S>(y[v]);
    }
  }
}

template <class W, class T, class F>
void run(const Tensor& out, const Generator::State& state, const F& f) {
  FillArguments a{};
  a.out = out.impl()->data;
  a.dtype = out.dtype();
  a.n = out.numel();
  a.counters = counters_for<W>(a.n);
  a.seed = state.seed;
  a.offset = state.offset;
  if (!out.impl()->contiguous) {
    a.dims = out.dim();
    for (int d = 0; d < a.dims; ++d) a.sizes[d] = out.size(d), a.strides[d] = out.strides()[d];
  }
  auto start = [&](auto s) {
    launch(fill_random<W, T, typename decltype(s)::type, F>, grid_for(a.counters), kThreads, 0, current_stream(), a, f);
  };
  if constexpr (std::is_same_v<T, double>) return start(Type<double>{});
  if constexpr (std::is_same_v<T, float>) {
    if (a.dtype == DType::f32) return start(Type<float>{});
    if (a.dtype == DType::bf16) return start(Type<BFloat16>{});
    if (a.dtype == DType::f16) return start(Type<Half>{});
  }
  if constexpr (std::is_same_v<T, i64>)
    if (a.dtype == DType::i64) return start(Type<int64_t>{});
  if constexpr (!std::is_same_v<T, double>) start(Type<AnyType>{});
}

template <class W, class T>
void fill_floats(const Tensor& out, const RandomOp::Attrs& a) {
  const T p = static_cast<T>(a.a), q = static_cast<T>(a.b);
  switch (a.distribution) {
    case Distribution::uniform: {
      // Halves get as many bits as they hold, so that rounding never reaches the upper end of [0, 1).
      const W bits = out.dtype() == DType::bf16  ? ~W(0) << (8 * sizeof(W) - 8)
                     : out.dtype() == DType::f16 ? ~W(0) << (8 * sizeof(W) - 11)
                                                 : ~W(0);
      return run<W, T>(out, a.state, Uniform<W, T>{bits, q - p, p});
    }
    case Distribution::normal:
      return run<W, T>(out, a.state, Normal<W, T>{q, p});
    case Distribution::log_normal:
      return run<W, T>(out, a.state, LogNormal<W, T>{q, p});
    case Distribution::exponential:
      return run<W, T>(out, a.state, Exponential<W, T>{p});
    case Distribution::cauchy:
      return run<W, T>(out, a.state, Cauchy<W, T>{p, q});
    case Distribution::geometric:
      return run<W, T>(out, a.state, Geometric<W, T>{math::log1p(-p)});
    case Distribution::bernoulli:
      return run<W, T>(out, a.state, Bernoulli<W, T>{p});
    case Distribution::integers:
      return;
  }
}

// ---- bernoulli with a probability for every element

template <class W, class T, class S>
__global__ void __launch_bounds__(kThreads)
    bernoulli_of(const S* p, S* out, i64 n, i64 counters, u64 seed, u64 offset, FaultSite fault) {
  WEFT_FOR_EACH(counter, counters) {
    W w[kValues<W>];
    draw(seed, offset + u64(counter), w);
    const i64 first = first_element<W>(counter);
#pragma unroll
    for (int v = 0; v < kValues<W>; ++v) {
      const i64 e = first + 16 * v;
      if (e >= n) continue;
      const T chance = load<S>(p[e]);
      if (!(chance >= T(0)) | !(chance <= T(1))) fault.report(0);
      out[e] = store<S>(T(unit(w[v]) < chance));
    }
  }
}

}  // namespace

void random_fill(const OpCall& c) {
  const auto& a = c.as<RandomOp::Attrs>();
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  if (a.distribution == Distribution::integers) {
    if (a.range != 0 && a.range <= u64{1} << 32)
      run<u32, i64>(out, a.state, Integers<u32>{a.low, a.range});
    else
      run<u64, i64>(out, a.state, Integers<u64>{a.low, a.range});
  } else if (out.dtype() == DType::f64) {
    fill_floats<u64, double>(out, a);
  } else {
    fill_floats<u32, float>(out, a);
  }
}

void bernoulli(const OpCall& c) {
  const Generator::State& state = c.as<SeededOp::Attrs>().state;
  const i64 n = c.out[0].numel();
  if (n == 0) return;
  const FaultSite fault = fault_site(detail::Fault::user, "{}: every p must lie in [0, 1]", "bernoulli");
  with_floating(c.in[0].dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    using W = std::conditional_t<std::is_same_v<S, double>, u64, u32>;
    const i64 counters = counters_for<W>(n);
    launch(bernoulli_of<W, Wide<S>, S>, grid_for(counters), kThreads, 0, current_stream(),
           static_cast<const S*>(c.in[0].impl()->data), static_cast<S*>(c.out[0].impl()->data), n, counters, state.seed,
           state.offset, fault);
  });
}

}  // namespace weft::gpu
