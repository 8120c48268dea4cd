#include "kernels/cpu/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/cpu/copy_matrix.h"
#include "kernels/cpu/scratch.h"

namespace weft::cpu {
namespace {

template <class S>
using Compute = std::conditional_t<std::is_same_v<S, double>, double, float>;

// The work is cut into panels that fit the first cache: some rows of all channels where channels_last, else (a part of)
// one channel's plane. Each panel is a matrix [rows, channels] with unit stride along `channels`, or one row.
struct Panel {
  int64_t offset, rows, channel;  // channel: of a plane; 0 where channels_last
};

struct Cut {
  explicit Cut(const ChannelArray& a) : a(a) {
    if (a.channels_last) {
      total = a.batch * a.area;
      rows = std::clamp<int64_t>(4096 / std::max<int64_t>(1, a.channels), 8, 1024);
      panels = (total + rows - 1) / rows;
    } else {
      total = a.area;
      rows = 16384;
      per_plane = std::max<int64_t>(1, (total + rows - 1) / rows);
      panels = a.batch * a.channels * per_plane;
    }
  }
  Panel panel(int64_t i) const {
    if (a.channels_last) return {i * rows * a.channels, std::min(rows, total - i * rows), 0};
    const int64_t plane = i / per_plane, part = i % per_plane;
    return {plane * a.area + part * rows, std::min(rows, total - part * rows), plane % a.channels};
  }
  int64_t elements(const Panel& p) const { return a.channels_last ? p.rows * a.channels : p.rows; }
  // Small planes share a piece.
  int64_t grain() const {
    return std::max<int64_t>(1,
                             8192 / std::max<int64_t>(1, a.channels_last ? rows * a.channels : std::min(rows, total)));
  }
  const ChannelArray& a;
  int64_t total = 0, rows = 0, panels = 0, per_plane = 1;
};

// A panel's values as T: in place, or converted into scratch.
template <class T, class S>
const T* as_compute(const S* x, int64_t n, Scratch where) {
  if constexpr (std::is_same_v<T, S>) {
    return x;
  } else {
    T* to = scratch<T>(where, n);
    for (int64_t i = 0; i < n; ++i) to[i] = widen<T>(x[i]);
    return to;
  }
}

// Sums of f(index) over a panel's rows for a vector of channels starting at c (channels_last), four chains at a time.
template <class T, class F>
Vec<T> sum_rows(int64_t rows, F f) {
  Vec<T> sum[4] = {};
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    for (int j = 0; j < 4; ++j) sum[j] += f(r + j);
  for (; r < rows; ++r) sum[0] += f(r);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <class T>
T sum_lanes(Vec<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// Sum over one row of n values: term(i) is a vector of terms from i, rest(i) one term.
template <class T, class F, class G>
T sum_row(int64_t n, F term, G rest) {
  constexpr int lanes = kLanes<T>;
  const int64_t whole = n / lanes;
  T sum = sum_lanes<T>(sum_rows<T>(whole, [&](int64_t i) { return term(i * lanes); }));
  for (int64_t i = whole * lanes; i < n; ++i) sum += rest(i);
  return sum;
}

// Per panel and channel two numbers; a plane's panel has one channel.
struct Partials {
  Partials(const Cut& cut) : width(cut.a.channels_last ? cut.a.channels : 1), values(cut.panels * width * 2) {}
  double* at(int64_t panel) { return values.data() + panel * width * 2; }
  int64_t width;
  std::vector<double> values;
};

// Calls f(channel, rows, pair) for every panel in order.
template <class F>
void each_partial(const Cut& cut, Partials& partials, F f) {
  for (int64_t i = 0; i < cut.panels; ++i) {
    const Panel p = cut.panel(i);
    double* pair = partials.at(i);
    for (int64_t c = 0; c < partials.width; ++c) f(p.channel + c, p.rows, pair + 2 * c);
  }
}

template <class S>
void statistics(const ChannelArray& a, const S* x, double* mean, double* variance) {
  using T = Compute<S>;
  constexpr int n = kLanes<T>;
  const Cut cut(a);
  Partials partials(cut);  // mean and sum of squared distances to it
  parallel_for(cut.panels, cut.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Panel p = cut.panel(i);
      const T* v = as_compute<T>(x + p.offset, cut.elements(p), Scratch::left);
      double* out = partials.at(i);
      if (!a.channels_last) {
        const T m = sum_row<T>(
                        p.rows, [&](int64_t j) { return load(v + j); }, [&](int64_t j) { return v[j]; }) /
                    T(p.rows);
        const Vec<T> mv = splat(m);
        out[0] = m;
        out[1] = sum_row<T>(
            p.rows,
            [&](int64_t j) {
              const Vec<T> d = load(v + j) - mv;
              return d * d;
            },
            [&](int64_t j) { return (v[j] - m) * (v[j] - m); });
        continue;
      }
      for (int64_t c = 0; c < a.channels; c += n) {
        const int64_t lanes = std::min<int64_t>(n, a.channels - c);
        const auto at = [&](int64_t r) {
          const T* q = v + r * a.channels + c;
          return lanes == n ? load(q) : load_first(q, lanes);
        };
        const Vec<T> m = sum_rows<T>(p.rows, at) / splat(T(p.rows));
        const Vec<T> s = sum_rows<T>(p.rows, [&](int64_t r) {
          const Vec<T> d = at(r) - m;
          return d * d;
        });
        for (int64_t j = 0; j < lanes; ++j) out[2 * (c + j)] = m[j], out[2 * (c + j) + 1] = s[j];
      }
    }
  });
  const double count = double(a.batch) * double(a.area);
  std::fill_n(mean, a.channels, 0.0);
  std::fill_n(variance, a.channels, 0.0);
  each_partial(cut, partials, [&](int64_t c, int64_t rows, const double* pair) { mean[c] += pair[0] * double(rows); });
  for (int64_t c = 0; c < a.channels; ++c) mean[c] /= count;
  each_partial(cut, partials, [&](int64_t c, int64_t rows, const double* pair) {
    variance[c] += pair[1] + double(rows) * (pair[0] - mean[c]) * (pair[0] - mean[c]);
  });
  for (int64_t c = 0; c < a.channels; ++c) variance[c] /= count;
}

template <class S>
void gradient_sums(const ChannelArray& a, const S* dy, const S* x, const double* mean, double* sum, double* dot) {
  using T = Compute<S>;
  constexpr int n = kLanes<T>;
  const Cut cut(a);
  Partials partials(cut);
  parallel_for(cut.panels, cut.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Panel p = cut.panel(i);
      const T* v = as_compute<T>(x + p.offset, cut.elements(p), Scratch::left);
      const T* g = as_compute<T>(dy + p.offset, cut.elements(p), Scratch::right);
      double* out = partials.at(i);
      if (!a.channels_last) {
        const T m = T(mean[p.channel]);
        const Vec<T> mv = splat(m);
        out[0] = sum_row<T>(
            p.rows, [&](int64_t j) { return load(g + j); }, [&](int64_t j) { return g[j]; });
        out[1] = sum_row<T>(
            p.rows, [&](int64_t j) { return load(g + j) * (load(v + j) - mv); },
            [&](int64_t j) { return g[j] * (v[j] - m); });
        continue;
      }
      for (int64_t c = 0; c < a.channels; c += n) {
        const int64_t lanes = std::min<int64_t>(n, a.channels - c);
        Vec<T> m{};
        for (int64_t j = 0; j < lanes; ++j) m[j] = T(mean[c + j]);
        const auto at = [&](const T* q, int64_t r) {
          q += r * a.channels + c;
          return lanes == n ? load(q) : load_first(q, lanes);
        };
        const Vec<T> s = sum_rows<T>(p.rows, [&](int64_t r) { return at(g, r); });
        const Vec<T> d = sum_rows<T>(p.rows, [&](int64_t r) { return at(g, r) * (at(v, r) - m); });
        for (int64_t j = 0; j < lanes; ++j) out[2 * (c + j)] = s[j], out[2 * (c + j) + 1] = d[j];
      }
    }
  });
  std::fill_n(sum, a.channels, 0.0);
  std::fill_n(dot, a.channels, 0.0);
  each_partial(cut, partials, [&](int64_t c, int64_t, const double* pair) { sum[c] += pair[0], dot[c] += pair[1]; });
}

// y = f(constants of the channels, x, [x2]) element by element; K constants per channel.
template <class S, int K, class F>
void map(const ChannelArray& a, const S* x, const S* x2, const double* const (&constants)[K], S* y, F f) {
  using T = Compute<S>;
  constexpr int n = kLanes<T>;
  const Cut cut(a);
  parallel_for(cut.panels, cut.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Panel p = cut.panel(i);
      const int64_t count = cut.elements(p);
      const T* v = as_compute<T>(x + p.offset, count, Scratch::left);
      const T* v2 = x2 ? as_compute<T>(x2 + p.offset, count, Scratch::right) : v;
      T* to;
      if constexpr (std::is_same_v<T, S>)
        to = y + p.offset;
      else
        to = scratch<T>(Scratch::staging, count);
      const int64_t channels = a.channels_last ? a.channels : n;
      for (int64_t c = 0; c < channels; c += n) {
        const int64_t lanes = std::min<int64_t>(n, channels - c);
        Vec<T> k[K] = {};
        for (int q = 0; q < K; ++q)
          for (int64_t j = 0; j < lanes; ++j) k[q][j] = T(constants[q][a.channels_last ? c + j : p.channel]);
        if (a.channels_last && lanes == n) {
          for (int64_t r = c, row = 0; row < p.rows; ++row, r += channels)
            store(to + r, f(k, load(v + r), load(v2 + r)));
        } else if (a.channels_last) {
          for (int64_t r = c, row = 0; row < p.rows; ++row, r += channels)
            store_first<T>(to + r, f(k, load_first(v + r, lanes), load_first(v2 + r, lanes)), lanes);
        } else {
          int64_t r = 0;
          for (; r + n <= count; r += n) store(to + r, f(k, load(v + r), load(v2 + r)));
          if (r < count)
            store_first<T>(to + r, f(k, load_first(v + r, count - r), load_first(v2 + r, count - r)), count - r);
        }
      }
      if constexpr (!std::is_same_v<T, S>)
        for (int64_t j = 0; j < count; ++j) y[p.offset + j] = narrow<S>(to[j]);
    }
  });
}

template <class F>
void with_storage(DType t, F body) {
  switch (t) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    case DType::bf16:
      return body(BFloat16{});
    case DType::f16:
      return body(Half{});
    default:
      WEFT_FAIL("batch norm: no kernel for {}; convert x to a float dtype", t);
  }
}

}  // namespace

void channel_statistics(const ChannelArray& a, const void* x, double* mean, double* variance) {
  with_storage(a.dtype, [&](auto s) { statistics(a, static_cast<const decltype(s)*>(x), mean, variance); });
}

void channel_affine(const ChannelArray& a, const void* x, const double* scale, const double* shift, void* y) {
  with_storage(a.dtype, [&](auto s) {
    using S = decltype(s);
    using T = Compute<S>;
    map<S, 2>(a, static_cast<const S*>(x), nullptr, {scale, shift}, static_cast<S*>(y),
              [](const Vec<T>* k, Vec<T> v, Vec<T>) { return fma<T>(v, k[0], k[1]); });
  });
}

void channel_gradient_sums(const ChannelArray& a, const void* dy, const void* x, const double* mean, double* sum,
                           double* dot) {
  with_storage(a.dtype, [&](auto s) {
    using S = decltype(s);
    gradient_sums(a, static_cast<const S*>(dy), static_cast<const S*>(x), mean, sum, dot);
  });
}

void channel_gradient(const ChannelArray& a, const void* dy, const void* x, const double* dy_mean, const double* scale,
                      const double* mean, const double* slope, void* dx) {
  with_storage(a.dtype, [&](auto s) {
    using S = decltype(s);
    using T = Compute<S>;
    map<S, 4>(a, static_cast<const S*>(dy), static_cast<const S*>(x), {dy_mean, scale, mean, slope},
              static_cast<S*>(dx),
              [](const Vec<T>* k, Vec<T> g, Vec<T> v) { return fma<T>(v - k[2], k[3], (g - k[0]) * k[1]); });
  });
}

}  // namespace weft::cpu
