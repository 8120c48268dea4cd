// Pooling kernels against the definition, over random shapes, layouts and dtypes.
#include "kernels/cpu/pool.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/half.h"
#include "tests/catch.h"

using namespace weft;
using cpu::Pool;

namespace {

void set_strides(int64_t* s, int64_t channels, const int64_t* size, bool channels_last) {
  const int64_t area = size[0] * size[1] * size[2], unit = channels_last ? channels : 1;
  s[0] = channels * area, s[1] = channels_last ? 1 : area;
  s[4] = unit, s[3] = size[2] * unit, s[2] = size[1] * size[2] * unit;
}

Pool random_pool(std::mt19937& rng, bool adaptive, int64_t dilation_limit) {
  auto pick = [&](std::initializer_list<int64_t> v) { return v.begin()[rng() % v.size()]; };
  Pool p;
  p.batch = pick({1, 2, 17});
  p.channels = pick({1, 3, 16, 20, 40});
  int64_t size[3], out[3];
  const int first = int(pick({0, 1, 1, 2}));
  for (int d = 0; d < 3; ++d) {
    const int64_t n = d < first ? 1 : pick({1, 4, 7, 8, 15}), k = pick({1, 2, 3}), s = pick({1, 2, 3}),
                  dil = 1 + int64_t(rng() % dilation_limit);
    if (d < first || adaptive) {
      p.axis[d] = cpu::adaptive_axis(n, d < first ? 1 : pick({1, 2, 5, 9}));
    } else {
      const int64_t kernel = dil * (k - 1) + 1 > n ? 1 : k, pad = kernel / 2;
      const bool ceil = rng() % 2;
      int64_t o = (n + 2 * pad - dil * (kernel - 1) - 1 + (ceil ? s - 1 : 0)) / s + 1;
      if ((o - 1) * s >= n + pad) --o;
      p.axis[d] = cpu::pool_axis(n, o, kernel, s, pad, dil);
    }
    size[d] = n, out[d] = p.axis[d].outputs();
  }
  const bool same = rng() % 4 != 0, last = rng() % 2;
  set_strides(p.x_strides, p.channels, size, last);
  set_strides(p.y_strides, p.channels, out, same ? last : !last);
  p.count_include_pad = rng() % 2;
  p.divisor_override = rng() % 4 == 0 ? 5 : 0;
  return p;
}

// f(x offset, y offset, place, first of its window?, divisor) for every (output, input of its window).
template <class F>
void each_pair(const Pool& p, F f) {
  const auto& [D, H, W] = p.axis;
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t c = 0; c < p.channels; ++c)
      for (int64_t a = 0; a < D.outputs(); ++a)
        for (int64_t b = 0; b < H.outputs(); ++b)
          for (int64_t e = 0; e < W.outputs(); ++e) {
            const int64_t* s = p.y_strides;
            const int64_t y = n * s[0] + c * s[1] + a * s[2] + b * s[3] + e * s[4];
            int64_t count = p.count_include_pad
                                ? D.padded[a] * H.padded[b] * W.padded[e]
                                : (D.end[a] - D.begin[a]) * (H.end[b] - H.begin[b]) * (W.end[e] - W.begin[e]);
            if (p.divisor_override) count = p.divisor_override;
            bool first = true;
            for (int64_t i = D.begin[a]; i < D.end[a]; i += D.step)
              for (int64_t j = H.begin[b]; j < H.end[b]; j += H.step)
                for (int64_t k = W.begin[e]; k < W.end[e]; k += W.step, first = false)
                  f(n * p.x_strides[0] + c * p.x_strides[1] + i * p.x_strides[2] + j * p.x_strides[3] +
                        k * p.x_strides[4],
                    y, (i * H.size + j) * W.size + k, first, count);
          }
}

int64_t elements(const Pool& p, bool of_x) {
  int64_t n = p.batch * p.channels;
  for (const auto& a : p.axis) n *= of_x ? a.size : a.outputs();
  return n;
}

}  // namespace

TEST_CASE("max pooling agrees with its definition") {
  std::mt19937 rng(1);
  for (int round = 0; round < 150; ++round) {
    Pool p = random_pool(rng, round % 3 == 0, 2);
    CAPTURE(round, p.batch, p.channels, p.axis[1].size, p.axis[2].size, p.axis[2].kernel, p.axis[2].stride,
            p.x_strides[1]);
    const int64_t nx = elements(p, true), ny = elements(p, false);
    std::vector<float> x(nx), y(ny), g(ny), dx(nx, -1), want_dx(nx), want(ny), along(ny);
    for (float& v : x) v = float(rng() % 9);  // many ties
    if (round % 5 == 0) x[rng() % x.size()] = std::numeric_limits<float>::quiet_NaN();
    for (float& v : g) v = float(rng() % 9);
    std::vector<int64_t> index(ny), want_index(ny), x_of(ny);
    each_pair(p, [&](int64_t ix, int64_t iy, int64_t place, bool first, int64_t) {
      if (first || x[ix] > want[iy] || x[ix] != x[ix]) want[iy] = x[ix], want_index[iy] = place, x_of[iy] = ix;
    });
    for (int64_t i = 0; i < ny; ++i) want_dx[x_of[i]] += g[i];
    cpu::max_pool_forward(p, x.data(), y.data(), index.data());
    CHECK(index == want_index);
    bool same = true;
    for (int64_t i = 0; i < ny; ++i) same = same && (y[i] == want[i] || (y[i] != y[i] && want[i] != want[i]));
    CHECK(same);
    cpu::max_pool_backward(p, g.data(), index.data(), dx.data());
    CHECK(dx == want_dx);
    cpu::max_pool_gather(p, want_dx.data(), index.data(), along.data());
    bool gathered = true;
    for (int64_t i = 0; i < ny; ++i) gathered = gathered && along[i] == want_dx[x_of[i]];
    CHECK(gathered);
  }
}

TEST_CASE("average pooling agrees with its definition") {
  std::mt19937 rng(2);
  for (int round = 0; round < 150; ++round) {
    Pool p = random_pool(rng, round % 3 == 0, 1);
    p.dtype = DType::f64;
    CAPTURE(round, p.batch, p.channels, p.axis[1].size, p.axis[2].size, p.axis[2].kernel, p.axis[2].stride,
            p.x_strides[1]);
    const int64_t nx = elements(p, true), ny = elements(p, false);
    std::vector<double> x(nx), y(ny), g(ny), dx(nx, -1), want(ny), want_dx(nx);
    for (double& v : x) v = double(rng() % 9);
    for (double& v : g) v = double(rng() % 9);
    each_pair(p, [&](int64_t ix, int64_t iy, int64_t, bool, int64_t count) {
      want[iy] += x[ix] / double(count);
      want_dx[ix] += g[iy] / double(count);
    });
    cpu::avg_pool_forward(p, x.data(), y.data());
    cpu::avg_pool_backward(p, g.data(), dx.data());
    double worst = 0;
    for (int64_t i = 0; i < ny; ++i) worst = std::max(worst, std::abs(y[i] - want[i]));
    for (int64_t i = 0; i < nx; ++i) worst = std::max(worst, std::abs(dx[i] - want_dx[i]));
    CHECK(worst < 1e-12);
  }
}

TEST_CASE("pooling in the other dtypes gives what f64 gives, rounded") {
  std::mt19937 rng(3);
  for (int round = 0; round < 40; ++round) {
    Pool p = random_pool(rng, round % 3 == 0, 1);
    const int64_t nx = elements(p, true), ny = elements(p, false);
    std::vector<double> x(nx), max(ny), average(ny);
    std::vector<int64_t> index(ny), index_half(ny);
    std::vector<BFloat16> xb(nx), maxb(ny), averageb(ny);
    std::vector<int32_t> xi(nx), maxi(ny);
    for (int64_t i = 0; i < nx; ++i) x[i] = double(rng() % 9), xb[i] = to_bf16(float(x[i])), xi[i] = int32_t(x[i]);
    p.dtype = DType::f64;
    cpu::max_pool_forward(p, x.data(), max.data(), index.data());
    cpu::avg_pool_forward(p, x.data(), average.data());
    p.dtype = DType::bf16;
    cpu::max_pool_forward(p, xb.data(), maxb.data(), index_half.data());
    cpu::avg_pool_forward(p, xb.data(), averageb.data());
    CHECK(index == index_half);
    p.dtype = DType::i32;
    cpu::max_pool_forward(p, xi.data(), maxi.data(), index_half.data());
    CHECK(index == index_half);
    bool same = true;
    for (int64_t i = 0; i < ny; ++i)
      same = same && to_float(maxb[i]) == max[i] && maxi[i] == max[i] &&
             std::abs(to_float(averageb[i]) - average[i]) <= average[i] / 250;
    CHECK(same);
  }
}
