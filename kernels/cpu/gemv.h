#pragma once
// Products with a vector. Included by the gemm_*.cpp files only.
#include "kernels/cpu/gemm_blocks.h"

namespace weft::kernels {
namespace {

/// c[j * c_stride] = alpha * sum_p x[p * x_stride] B(p, j) + beta * c + bias[j * bias_stride], j < n.
template <class T>
struct VectorProduct {
  int64_t n, k;
  const T* x;
  int64_t x_stride;
  const T* b;
  int64_t b_rs, b_cs;
  T* c;
  int64_t c_stride;
  T alpha, beta;
  const T* bias;
  int64_t bias_stride;

  void put(int64_t j, T sum) const {
    T v = alpha * sum;
    if (beta != 0) v += beta * c[j * c_stride];
    if (bias) v += bias[j * bias_stride];
    c[j * c_stride] = v;
  }
};

/// Contiguous rows of B: eight rows at a time are added to the sums of a few thousand columns, which stay in the L1
/// cache.
template <class T>
void columns_product(const VectorProduct<T>& g, int64_t j0, int64_t count) {
  using V = Simd<T>;
  constexpr int L = V::kLanes, R = 8;
  T* sums = static_cast<T*>(workspace<2>((count + L) * sizeof(T)));
  for (int64_t j = 0; j < count; j += L) V::store(sums + j, V::zero());
  for (int64_t p = 0; p < g.k; p += R) {
    const int64_t rows = std::min<int64_t>(R, g.k - p);
    const T* b = g.b + p * g.b_rs + j0;
    typename V::Vec x[R];
    for (int i = 0; i < R; ++i) x[i] = i < rows ? V::set1(g.x[(p + i) * g.x_stride]) : V::zero();
    for (int64_t j = 0; j < count; j += L) {
      const auto mask = V::tail(count - j);
      auto sum = V::load(sums + j);
      if (rows == R) {
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) {
          __builtin_prefetch(b + (R + i) * g.b_rs + j);
          sum = V::fma(x[i], V::load(b + i * g.b_rs + j, mask), sum);
        }
      } else {
        for (int i = 0; i < rows; ++i) sum = V::fma(x[i], V::load(b + i * g.b_rs + j, mask), sum);
      }
      V::store(sums + j, sum);
    }
  }
  for (int64_t j = 0; j < count; ++j) g.put(j0 + j, sums[j]);
}

/// Contiguous columns of B and x: NC dot products at once.
template <class T, int NC>
void dot_products(const VectorProduct<T>& g, int64_t j0) {
  using V = Simd<T>;
  constexpr int L = V::kLanes, U = 2;
  typename V::Vec sum[NC][U];
  for (auto& row : sum) {
    for (auto& v : row) v = V::zero();
  }
  const T* b = g.b + j0 * g.b_cs;
  int64_t p = 0;
  for (; p + U * L <= g.k; p += U * L) {
#pragma GCC unroll 2
    for (int u = 0; u < U; ++u) {
      const auto xv = V::load(g.x + p + u * L);
#pragma GCC unroll 4
      for (int i = 0; i < NC; ++i) sum[i][u] = V::fma(xv, V::load(b + i * g.b_cs + p + u * L), sum[i][u]);
    }
  }
  for (; p < g.k; p += L) {
    const auto mask = V::tail(g.k - p);
    const auto xv = V::load(g.x + p, mask);
#pragma GCC unroll 4
    for (int i = 0; i < NC; ++i) sum[i][0] = V::fma(xv, V::load(b + i * g.b_cs + p, mask), sum[i][0]);
  }
  for (int i = 0; i < NC; ++i) g.put(j0 + i, lane_sum<T>(V::add(sum[i][0], sum[i][1])));
}

template <class T>
void vector_product(const VectorProduct<T>& given) {
  VectorProduct<T> g = given;
  constexpr int64_t L = Simd<T>::kLanes;
  const auto grain = [&](int64_t unit) {  // columns that take about 10 us, a multiple of unit
    return std::max<int64_t>(1, 65536 / (g.k * unit + 1)) * unit;
  };
  if (g.b_cs == 1 && g.n > 1) {
    // Long pieces of rows, for the prefetcher; a column's sum does not depend on its piece.
    const int64_t share = (g.n / num_threads() / (8 * L) + 1) * 8 * L;
    parallel_for(g.n, std::clamp<int64_t>(share, grain(8 * L), std::max<int64_t>(4096, grain(8 * L))),
                 [&](int64_t begin, int64_t end) { columns_product<T>(g, begin, end - begin); });
    return;
  }
  if (g.b_rs == 1 || g.k == 1) {
    if (g.x_stride != 1) {
      T* x = static_cast<T*>(workspace<0>(g.k * sizeof(T) + 1));
      for (int64_t p = 0; p < g.k; ++p) x[p] = g.x[p * g.x_stride];
      g.x = x;
    }
    parallel_for(g.n, grain(4), [&](int64_t begin, int64_t end) {
      int64_t j = begin;
      for (; j + 4 <= end; j += 4) dot_products<T, 4>(g, j);
      for (; j < end; ++j) dot_products<T, 1>(g, j);
    });
    return;
  }
  parallel_for(g.n, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      T sum = 0;
      for (int64_t p = 0; p < g.k; ++p) sum += g.x[p * g.x_stride] * g.b[p * g.b_rs + j * g.b_cs];
      g.put(j, sum);
    }
  });
}

/// g with m == 1 or n == 1.
template <class T>
void run_gemv(const Gemm& g) {
  const T *a = static_cast<const T*>(g.a), *b = static_cast<const T*>(g.b), *bias = static_cast<const T*>(g.bias);
  T* c = static_cast<T*>(g.c);
  const T alpha = static_cast<T>(g.alpha), beta = static_cast<T>(g.beta);
  if (g.m == 1) {
    vector_product<T>({g.n, g.k, a, g.a_cs, b, g.b_rs, g.b_cs, c, 1, alpha, beta, bias, 1});
  } else {
    vector_product<T>({g.m, g.k, b, g.b_rs, a, g.a_cs, g.a_rs, c, g.ldc, alpha, beta, bias, 0});
  }
}

}  // namespace
}  // namespace weft::kernels
