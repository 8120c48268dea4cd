// Convolution kernels against the definition, over random shapes, layouts and dtypes.
#include "kernels/cpu/conv.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/half.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/sanitized.h"

using namespace weft;
using cpu::Conv;

namespace {

struct Problem {
  Conv c;
  int64_t x_count, w_count, y_count;
};

void set_strides(int64_t* s, int64_t n0, int64_t n1, const int64_t* size, bool channels_last, int64_t& count) {
  const int64_t area = size[0] * size[1] * size[2];
  count = n0 * n1 * area;
  s[0] = n1 * area;
  s[1] = channels_last ? 1 : area;
  const int64_t unit = channels_last ? n1 : 1;
  s[4] = unit, s[3] = size[2] * unit, s[2] = size[1] * size[2] * unit;
}

Problem random_problem(std::mt19937& rng) {
  auto pick = [&](std::initializer_list<int64_t> v) { return v.begin()[rng() % v.size()]; };
  Problem p;
  Conv& c = p.c;
  while (true) {
    c = Conv{};
    c.batch = pick({1, 2, 5});
    c.groups = pick({1, 1, 1, 2, 4});
    c.cin = c.groups * pick({1, 3, 4, 8, 16, 20, 32});
    c.cout = c.groups * pick({1, 2, 8, 16, 24, 32, 50});
    const int first = int(pick({0, 1, 1, 1, 2}));
    for (int d = first; d < 3; ++d) {
      c.x_size[d] = pick({1, 5, 7, 8, 14, 17, 33});
      c.kernel[d] = pick({1, 2, 3, 3, 5});
      c.stride[d] = pick({1, 1, 2, 3});
      c.padding[d] = pick({0, 1, 1, 2});
      c.dilation[d] = pick({1, 1, 2});
      if (first == 0) c.x_size[d] = std::min<int64_t>(c.x_size[d], 7);
    }
    bool ok = true;
    for (int d = 0; d < 3; ++d) {
      c.y_size[d] = (c.x_size[d] + 2 * c.padding[d] - c.dilation[d] * (c.kernel[d] - 1) - 1) / c.stride[d] + 1;
      ok = ok && c.x_size[d] + 2 * c.padding[d] >= c.dilation[d] * (c.kernel[d] - 1) + 1;
    }
    if (ok) break;
  }
  set_strides(c.x_strides, c.batch, c.cin, c.x_size, rng() % 2, p.x_count);
  set_strides(c.w_strides, c.cout, c.cin / c.groups, c.kernel, rng() % 2, p.w_count);
  set_strides(c.y_strides, c.batch, c.cout, c.y_size, rng() % 2, p.y_count);
  return p;
}

// Calls f(index in x, index in w, index in y, output channel) for every product of the convolution.
template <class F>
void each_product(const Conv& c, F f) {
  const int64_t cin = c.cin / c.groups, cout = c.cout / c.groups;
  int64_t o[3], k[3];
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t oc = 0; oc < c.cout; ++oc)
      for (o[0] = 0; o[0] < c.y_size[0]; ++o[0])
        for (o[1] = 0; o[1] < c.y_size[1]; ++o[1])
          for (o[2] = 0; o[2] < c.y_size[2]; ++o[2])
            for (k[0] = 0; k[0] < c.kernel[0]; ++k[0])
              for (k[1] = 0; k[1] < c.kernel[1]; ++k[1])
                for (k[2] = 0; k[2] < c.kernel[2]; ++k[2]) {
                  int64_t x = n * c.x_strides[0] + oc / cout * cin * c.x_strides[1], w = oc * c.w_strides[0];
                  int64_t y = n * c.y_strides[0] + oc * c.y_strides[1];
                  bool inside = true;
                  for (int d = 0; d < 3; ++d) {
                    const int64_t i = o[d] * c.stride[d] - c.padding[d] + k[d] * c.dilation[d];
                    inside = inside && i >= 0 && i < c.x_size[d];
                    x += i * c.x_strides[2 + d], w += k[d] * c.w_strides[2 + d], y += o[d] * c.y_strides[2 + d];
                  }
                  if (!inside) continue;
                  for (int64_t ic = 0; ic < cin; ++ic) f(x + ic * c.x_strides[1], w + ic * c.w_strides[1], y, oc);
                }
}

template <class T>
double value(T x) {
  if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>)
    return to_float(x);
  else
    return double(x);
}
template <class T>
std::vector<T> random_values(std::mt19937& rng, int64_t n) {
  std::vector<T> v(n);
  for (T& x : v) {
    const float r = float(int(rng() % 33) - 16) / 16;
    if constexpr (std::is_same_v<T, BFloat16>)
      x = to_bf16(r);
    else if constexpr (std::is_same_v<T, Half>)
      x = to_f16(r);
    else if constexpr (std::is_same_v<T, int64_t>)
      x = int64_t(r * 16);
    else
      x = T(r);
  }
  return v;
}

template <class T>
double worst(const std::vector<T>& got, const std::vector<double>& want) {
  double w = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double e = std::abs(value(got[i]) - want[i]) / (1 + std::abs(want[i]));
    w = e <= w ? w : e;  // NaN stays
  }
  return w;
}

template <class T>
void check_random(DType dtype, unsigned seed, int rounds, double tolerance) {
  if (kThreadSanitized) rounds /= 8;  // the definition takes nearly all of the time
  std::mt19937 rng(seed);
  for (int round = 0; round < rounds; ++round) {
    Problem p = random_problem(rng);
    Conv& c = p.c;
    c.dtype = dtype;
    CAPTURE(round, c.batch, c.groups, c.cin, c.cout, c.x_size[0], c.x_size[1], c.x_size[2], c.kernel[0], c.kernel[1],
            c.kernel[2]);
    CAPTURE(c.stride[1], c.stride[2], c.padding[1], c.padding[2], c.dilation[1], c.dilation[2], c.x_strides[1],
            c.w_strides[1], c.y_strides[1]);
    const auto x = random_values<T>(rng, p.x_count), w = random_values<T>(rng, p.w_count),
               g = random_values<T>(rng, p.y_count);
    const auto b = random_values<T>(rng, c.cout), bx = random_values<T>(rng, c.cin);
    std::vector<double> y(p.y_count), dx(p.x_count), dw(p.w_count), db(c.cout);
    for (int64_t i = 0; i < p.y_count; ++i) {
      const int64_t oc = i % c.y_strides[0] / c.y_strides[1] % c.cout;
      y[i] = value(b[oc]);
      db[oc] += value(g[i]);
    }
    for (int64_t i = 0; i < p.x_count; ++i) dx[i] = value(bx[i % c.x_strides[0] / c.x_strides[1] % c.cin]);
    each_product(c, [&](int64_t ix, int64_t iw, int64_t iy, int64_t) {
      y[iy] += value(x[ix]) * value(w[iw]);
      dx[ix] += value(g[iy]) * value(w[iw]);
      dw[iw] += value(g[iy]) * value(x[ix]);
    });
    std::vector<T> got_y(p.y_count), got_dx(p.x_count), got_dw(p.w_count), got_db(c.cout);
    cpu::conv_forward(c, x.data(), w.data(), b.data(), got_y.data());
    CHECK(worst(got_y, y) <= tolerance);
    cpu::conv_data_gradient(c, g.data(), w.data(), bx.data(), got_dx.data());
    CHECK(worst(got_dx, dx) <= tolerance);
    if (dtype == DType::i64) continue;
    cpu::conv_weight_gradient(c, x.data(), g.data(), got_dw.data(), got_db.data());
    CHECK(worst(got_dw, dw) <= tolerance);
    CHECK(worst(got_db, db) <= tolerance);
  }
}

}  // namespace

TEST_CASE("convolution f32 agrees with its definition") { check_random<float>(DType::f32, 1, 150, 1e-5); }
TEST_CASE("convolution f64 agrees with its definition") { check_random<double>(DType::f64, 2, 80, 1e-13); }
TEST_CASE("convolution bf16 agrees with its definition") { check_random<BFloat16>(DType::bf16, 3, 40, 1.0 / 256); }
TEST_CASE("convolution f16 agrees with its definition") { check_random<Half>(DType::f16, 4, 40, 1.0 / 2048); }
TEST_CASE("convolution i64 is exact") { check_random<int64_t>(DType::i64, 5, 40, 0); }

TEST_CASE("convolution has the same bits for any thread count") {
  std::mt19937 rng(7);
  const int before = num_threads();
  for (int round = 0; round < 20; ++round) {
    Problem p = random_problem(rng);
    const auto x = random_values<float>(rng, p.x_count), w = random_values<float>(rng, p.w_count),
               g = random_values<float>(rng, p.y_count);
    std::vector<float> y[2], dx[2], dw[2], db[2];
    for (int i = 0; i < 2; ++i) {
      set_num_threads(i == 0 ? 1 : 4);
      y[i].resize(p.y_count), dx[i].resize(p.x_count), dw[i].resize(p.w_count), db[i].resize(p.c.cout);
      cpu::conv_forward(p.c, x.data(), w.data(), nullptr, y[i].data());
      cpu::conv_data_gradient(p.c, g.data(), w.data(), nullptr, dx[i].data());
      cpu::conv_weight_gradient(p.c, x.data(), g.data(), dw[i].data(), db[i].data());
    }
    CHECK(y[0] == y[1]);
    CHECK(dx[0] == dx[1]);
    CHECK(dw[0] == dw[1]);
    CHECK(db[0] == db[1]);
  }
  set_num_threads(before);
}

TEST_CASE("convolution has the same bits in any layout") {
  std::mt19937 rng(8);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 40; ++round) {
    Problem p = random_problem(rng);
    Conv& c = p.c;
    if (round % 2 == 0)  // one position, no neighbours: rows may be joined
      for (int d = 0; d < 3; ++d)
        c.kernel[d] = c.stride[d] = c.dilation[d] = 1, c.padding[d] = 0, c.y_size[d] = c.x_size[d];
    // A value for each logical element [n][channel][pixel], put where the layout wants it.
    const auto fill = [&](const int64_t* s, int64_t n1, const int64_t* size, const std::vector<float>& from, bool back,
                          std::vector<float>& memory) {
      std::vector<float> logical(from.size());
      for (int64_t i = 0; i < int64_t(from.size()); ++i) {
        int64_t at = 0, rest = i;
        for (int d = 2; d >= 0; --d) at += rest % size[d] * s[2 + d], rest /= size[d];
        at += rest % n1 * s[1] + rest / n1 * s[0];
        if (back)
          logical[i] = memory[at];
        else
          memory[at] = from[i];
      }
      return logical;
    };
    set_strides(c.w_strides, c.cout, c.cin / c.groups, c.kernel, false, p.w_count);
    set_strides(c.x_strides, c.batch, c.cin, c.x_size, false, p.x_count);
    set_strides(c.y_strides, c.batch, c.cout, c.y_size, false, p.y_count);
    std::vector<float> x(p.x_count), w(p.w_count), b(c.cout), g(p.y_count), first_y, first_dx;
    for (auto* v : {&x, &w, &b, &g})
      for (float& e : *v) e = normal(rng);
    for (int layout = 0; layout < 4; ++layout) {
      set_strides(c.x_strides, c.batch, c.cin, c.x_size, layout & 1, p.x_count);
      set_strides(c.y_strides, c.batch, c.cout, c.y_size, layout & 2, p.y_count);
      std::vector<float> xm(p.x_count), ym(p.y_count), gm(p.y_count), dxm(p.x_count);
      fill(c.x_strides, c.cin, c.x_size, x, false, xm);
      fill(c.y_strides, c.cout, c.y_size, g, false, gm);
      cpu::conv_forward(c, xm.data(), w.data(), b.data(), ym.data());
      cpu::conv_data_gradient(c, gm.data(), w.data(), nullptr, dxm.data());
      const auto y = fill(c.y_strides, c.cout, c.y_size, g, true, ym);
      const auto dx = fill(c.x_strides, c.cin, c.x_size, x, true, dxm);
      if (layout == 0) first_y = y, first_dx = dx;
      CAPTURE(round, layout, c.batch, c.groups, c.cin, c.cout, c.x_size[1], c.x_size[2], c.kernel[1], c.kernel[2]);
      CHECK(y == first_y);
      CHECK(dx == first_dx);
    }
  }
}
