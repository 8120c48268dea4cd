#include "core/ops/random.h"

#include <atomic>
#include <cmath>

#include "core/error.h"
#include "core/pointwise_loops.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/random.h"
#include "kernels/cpu/strided.h"

namespace weft::cpu {
namespace {

using rng::open_unit;
using rng::unit;

template <class T>
constexpr DType dtype_of = std::is_same_v<T, float>    ? DType::f32
                           : std::is_same_v<T, double> ? DType::f64
                                                       : DType::i64;

// Fills `out` of any dtype and layout: make(words, y, count) writes the values in T, up to a
// whole tile of them.
template <class W, class T, class F>
void fill_with(const Tensor& out, const Generator::State& state, F&& make) {
  const int64_t n = out.numel(), width = static_cast<int64_t>(itemsize(out.dtype()));
  const bool direct = out.impl()->contiguous && out.dtype() == dtype_of<T>;
  const ConvertFn convert = converter(out.dtype(), dtype_of<T>);
  // Elements are numbered in row-major order whatever the layout.
  const Dims& sizes = out.sizes();
  char* data = static_cast<char*>(out.data_ptr());
  random_tiles<W>(n, state, [&](const W* words, int64_t begin, int64_t count) {
    if (direct && count == kRandomTile) return make(words, reinterpret_cast<T*>(data) + begin, count);
    alignas(64) T tile[kRandomTile];
    make(words, tile, count);
    if (out.impl()->contiguous) return convert(data + begin * width, 1, tile, 1, count);
    Cursor at(sizes, out.strides(), begin);
    const T* from = tile;
    at.take(count, [&](int64_t offset, int64_t stride, int64_t run) {
      convert(data + offset * width, stride, from, 1, run);
      from += run;
    });
  });
}

template <class W, class T, class F>
void each(const Tensor& out, const Generator::State& state, F f) {
  fill_with<W, T>(out, state, [f](const W* words, T* y, int64_t count) {
    WEFT_VECTORIZE
    for (int64_t i = 0; i < count; ++i) y[i] = f(words[i]);
  });
}

// finish(z) of standard normals z. Partners lie 16 elements apart.
template <class W, class T, class F>
void normals(const Tensor& out, const Generator::State& state, F finish) {
  fill_with<W, T>(out, state, [finish](const W* words, T* y, int64_t count) {
    for (int64_t g = 0; g < count; g += 32) {
      WEFT_VECTORIZE
      for (int l = 0; l < 16; ++l) {
        T z0, z1;
        rng::normal_pair(words[g + l], words[g + 16 + l], z0, z1);
        y[g + l] = finish(z0);
        y[g + 16 + l] = finish(z1);
      }
    }
  });
}

// f of a uniform number in (0, 1). Two loops: as one, g++ leaves the logarithm scalar.
template <class W, class T, class F>
void each_inner(const Tensor& out, const Generator::State& state, F f) {
  constexpr T kTop = T(1) - (sizeof(T) == 4 ? T(5.9604644775390625e-08) : T(1.1102230246251565e-16));
  fill_with<W, T>(out, state, [f](const W* words, T* y, int64_t count) {
    WEFT_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      T u = open_unit(words[i]);
      y[i] = u < kTop ? u : kTop;
    }
    WEFT_VECTORIZE
    for (int64_t i = 0; i < count; ++i) y[i] = f(y[i]);
  });
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
      const T width = q - p;
      return each<W, T>(out, a.state, [=](W w) { return unit(w & bits) * width + p; });
    }
    case Distribution::normal:
      return normals<W, T>(out, a.state, [=](T z) { return z * q + p; });
    case Distribution::log_normal:
      return normals<W, T>(out, a.state, [=](T z) { return math::exp(z * q + p); });
    case Distribution::exponential:
      return each_inner<W, T>(out, a.state, [=](T u) { return -math::log(u) / p; });
    case Distribution::cauchy:
      return each_inner<W, T>(out, a.state,
                              [=](T u) { return p + q * math::tan(T(3.14159265358979323846) * (u - T(0.5))); });
    case Distribution::geometric: {
      const T scale = math::log1p(-p);
      return each_inner<W, T>(out, a.state, [=](T u) { return math::ceil(math::log(u) / scale); });
    }
    case Distribution::bernoulli:
      return each<W, T>(out, a.state, [=](W w) { return T(unit(w) < p); });
    case Distribution::integers:
      return;
  }
}

}  // namespace

void random_fill(const OpCall& c) {
  const auto& a = c.as<RandomOp::Attrs>();
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  if (a.distribution == Distribution::integers) {
    const int64_t low = a.low;
    const uint64_t range = a.range;
    if (range != 0 && range <= uint64_t{1} << 32)
      each<uint32_t, int64_t>(out, a.state, [=](uint32_t w) { return low + static_cast<int64_t>(w * range >> 32); });
    else
      each<uint64_t, int64_t>(
          out, a.state, [=](uint64_t w) { return low + static_cast<int64_t>(range == 0 ? w : rng::below(w, range)); });
  } else if (out.dtype() == DType::f64) {
    fill_floats<uint64_t, double>(out, a);
  } else {
    fill_floats<uint32_t, float>(out, a);
  }
}

namespace {
template <class W, class T>
void bernoulli_of(const Tensor& out, const Tensor& p, const Generator::State& state) {
  const ConvertFn load = converter(dtype_of<T>, p.dtype()), store = converter(out.dtype(), dtype_of<T>);
  const int64_t width = static_cast<int64_t>(itemsize(p.dtype()));
  std::atomic<bool> bad{false};
  random_tiles<W>(out.numel(), state, [&](const W* words, int64_t begin, int64_t count) {
    alignas(64) T tile[kRandomTile];
    load(tile, 1, static_cast<const char*>(p.data_ptr()) + begin * width, 1, count);
    int wrong = 0;
    for (int64_t i = 0; i < count; ++i) {
      wrong |= !(tile[i] >= T(0)) | !(tile[i] <= T(1));
      tile[i] = T(unit(words[i]) < tile[i]);
    }
    if (wrong) bad = true;
    store(static_cast<char*>(out.data_ptr()) + begin * width, 1, tile, 1, count);
  });
  WEFT_CHECK(!bad, "bernoulli: every p must lie in [0, 1]");
}
}  // namespace

void bernoulli(const OpCall& c) {
  const auto& a = c.as<SeededOp::Attrs>();
  if (c.in[0].dtype() == DType::f64)
    bernoulli_of<uint64_t, double>(c.out[0], c.in[0], a.state);
  else
    bernoulli_of<uint32_t, float>(c.out[0], c.in[0], a.state);
}

}  // namespace weft::cpu
