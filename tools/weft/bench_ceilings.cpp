// Compiled with the flags of kernels/: a ceiling uses the instructions that the kernels may use.
#include "tools/weft/bench_ceilings.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/parallel.h"
#include "core/tensor.h"
#include "tools/weft/bench.h"
#include "weft.h"

namespace weft::bench {
namespace {

constexpr int kChains = 12;        // independent accumulators: more than latency times ports
constexpr int64_t kRounds = 4096;  // fused operations of a chain in one piece

#if defined(__AVX512F__)
using Vector = __m512;
inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector load(const float* p) { return _mm512_load_ps(p); }
inline void store(float* p, Vector v) { _mm512_store_ps(p, v); }
inline void stream(float* p, Vector v) { _mm512_stream_ps(p, v); }
inline Vector fill(float x) { return _mm512_set1_ps(x); }
#elif defined(__AVX2__) && defined(__FMA__)
using Vector = __m256;
inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector load(const float* p) { return _mm256_load_ps(p); }
inline void store(float* p, Vector v) { _mm256_store_ps(p, v); }
inline void stream(float* p, Vector v) { _mm256_stream_ps(p, v); }
inline Vector fill(float x) { return _mm256_set1_ps(x); }
#else
typedef float Vector __attribute__((vector_size(16)));
inline Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
inline Vector add(Vector a, Vector b) { return a + b; }
inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
inline void stream(float* p, Vector v) { store(p, v); }
inline Vector fill(float x) { return Vector{x, x, x, x}; }
#endif
constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
constexpr int64_t kUnroll = 8;
constexpr int64_t kStep = kUnroll * kLanes;  // floats of one turn of a loop over arrays

// The compiler knows neither what x is nor what becomes of it.
template <class V>
inline void hide(V& x) {
#if defined(__AVX512F__)
  asm volatile("" : "+v"(x));
#else
  asm volatile("" : "+x"(x));
#endif
}

void fma_piece() {
  Vector a = fill(1.0f), b = fill(1e-9f), sum[kChains];
  hide(a);
  hide(b);
  for (Vector& s : sum) s = fill(0.0f);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sum[c] = fma(a, b, sum[c]);
  }
  for (Vector& s : sum) hide(s);
}

#if defined(__AVX512BF16__)
void bf16_piece() {
  Vector one = fill(1.0f), sum[kChains];
  __m512bh a = _mm512_cvtne2ps_pbh(one, one), b = a;
  hide(a);
  hide(b);
  for (Vector& s : sum) s = fill(0.0f);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sum[c] = _mm512_dpbf16_ps(sum[c], a, b);
  }
  for (Vector& s : sum) hide(s);
}
#endif

struct Arrays {
  const float *a, *b;
  float* to;
};

template <bool Stream>
inline void put(float* p, Vector v) {
  if constexpr (Stream)
    stream(p, v);
  else
    store(p, v);
}

// One piece [begin, end) of a loop over arrays of floats; begin and end are multiples of kStep.
template <Pattern P, bool Stream>
void sweep(const Arrays& x, int64_t begin, int64_t end) {
  Vector s[kUnroll];
  for (Vector& v : s) v = fill(0.5f);
  for (int64_t i = begin; i < end; i += kStep) {
#pragma GCC unroll 8
    for (int64_t k = 0; k < kUnroll; ++k) {
      const int64_t at = i + k * kLanes;
      if constexpr (P == Pattern::read) s[k] = add(s[k], load(x.a + at));
      if constexpr (P == Pattern::copy) put<Stream>(x.to + at, load(x.a + at));
      if constexpr (P == Pattern::triad) put<Stream>(x.to + at, fma(load(x.b + at), s[k], load(x.a + at)));
      if constexpr (P == Pattern::write) put<Stream>(x.to + at, s[k]);
    }
  }
  for (Vector& v : s) hide(v);
#if defined(__AVX2__)
  if (Stream) _mm_sfence();
#endif
}

template <Pattern P, bool Stream>
double sweep_us(const Arrays& x, int64_t n) {
  const int64_t even = (n / (4 * num_threads()) + kStep - 1) / kStep * kStep;
  const int64_t grain = std::clamp<int64_t>(even, kStep, 1 << 16);
  return best_us([&] { parallel_for(n, grain, [&](int64_t begin, int64_t end) { sweep<P, Stream>(x, begin, end); }); });
}

template <Pattern P>
double best_sweep_us(const Arrays& x, int64_t n) {
  const double ordinary = sweep_us<P, false>(x, n);
  return P == Pattern::read ? ordinary : std::min(ordinary, sweep_us<P, true>(x, n));
}

}  // namespace

const char* pattern_name(Pattern p) {
  switch (p) {
    case Pattern::read:
      return "read";
    case Pattern::copy:
      return "copy";
    case Pattern::triad:
      return "triad";
    case Pattern::write:
      return "write";
  }
  return "";
}

double bandwidth(Pattern p, double bytes) {
  static std::map<std::pair<Pattern, int64_t>, double> known;  // the command measures one thing after another
  const double size = std::clamp(std::exp2(std::ceil(2 * std::log2(std::max(bytes, 1.0))) / 2), 1048576.0, kLargeBytes);
  double& found = known[{p, static_cast<int64_t>(size)}];
  if (found > 0) return found;
  const int arrays = p == Pattern::triad ? 3 : p == Pattern::copy ? 2 : 1;
  const int64_t n = static_cast<int64_t>(size / sizeof(float)) / arrays / kStep * kStep;
  // Memory of its own size; the stores of a piece start on a cache line.
  Tensor a = ones({n}), b = arrays > 2 ? ones({n}) : a, to = arrays > 1 ? ones({n}) : a;
  auto floats = [](const Tensor& t) { return static_cast<float*>(t.data_ptr()); };
  const Arrays x{floats(a), floats(b), floats(to)};
  const double us = p == Pattern::read    ? best_sweep_us<Pattern::read>(x, n)
                    : p == Pattern::copy  ? best_sweep_us<Pattern::copy>(x, n)
                    : p == Pattern::triad ? best_sweep_us<Pattern::triad>(x, n)
                                          : best_sweep_us<Pattern::write>(x, n);
  return found = static_cast<double>(n) * sizeof(float) * arrays / us * 1e-3;
}

bool has_bf16_dot() {
#if defined(__AVX512BF16__)
  return true;
#else
  return false;
#endif
}

double fma_peak(bool bf16, int threads) {
  static std::map<std::pair<bool, int>, double> known;
  bf16 = bf16 && has_bf16_dot();
  double& found = known[{bf16, threads}];
  if (found > 0) return found;
  void (*piece)() = fma_piece;
  double flops = 2.0 * kLanes * kChains * kRounds;
#if defined(__AVX512BF16__)
  if (bf16) {
    piece = bf16_piece;
    flops *= 2;
  }
#endif
  const int before = num_threads();
  set_num_threads(threads);
  const int64_t pieces = 32 * threads;
  const double us = best_us([&] { parallel_for(pieces, 1, [&](int64_t, int64_t) { piece(); }); });
  set_num_threads(before);
  return found = flops * static_cast<double>(pieces) / us * 1e-3;
}

}  // namespace weft::bench
