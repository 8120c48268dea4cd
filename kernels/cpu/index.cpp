#include "core/ops/index.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/element.h"
#include "kernels/cpu/strided.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu {
namespace {

constexpr int64_t kGrain = 32768;

Dims part(const Dims& d, int from, int to) { return Dims(d.data() + from, static_cast<size_t>(to - from)); }

// True when the dimensions can be walked with one stride.
bool one_stride(const Dims& sizes, const Dims& strides, int64_t& stride) {
  stride = 0;
  int64_t step = 0;
  bool begun = false;
  for (int d = sizes.size() - 1; d >= 0; --d) {
    if (sizes[d] == 1) continue;
    if (!begun)
      stride = strides[d];
    else if (strides[d] != step)
      return false;
    begun = true;
    step = strides[d] * sizes[d];
  }
  return true;
}

// x [before, indexed, after] against y [before, n, after].
struct Geometry {
  int64_t rows, n;               // rows: elements of `before`
  int64_t y_step;                // of n
  StridedLoop<2> before, after;  // operand 0: y, 1: x
  std::vector<int64_t> offsets;  // of x for each n
  int64_t after_numel, inner;

  static StridedLoop<2> loop(const Tensor& y, int y0, int y1, const Tensor& x, int x0, int x1) {
    Dims shape = part(x.sizes(), x0, x1), ys = part(y.strides(), y0, y1), xs = part(x.strides(), x0, x1);
    const Dims* sizes[2] = {&shape, &shape};
    const Dims* strides[2] = {&ys, &xs};
    return StridedLoop<2>(shape, 2, sizes, strides);
  }

  Geometry(const Tensor& x, const Tensor& linear, const Tensor& y, int first, int count)
      : rows(1),
        n(linear.numel()),
        before(loop(y, 0, first, x, 0, first)),
        after(loop(y, first + linear.dim(), y.dim(), x, first + count, x.dim())) {
    rows = before.numel;
    after_numel = after.numel;
    inner = after.inner();
    if (n == 0 || rows == 0 || after_numel == 0) return;
    WEFT_ASSERT(one_stride(part(y.sizes(), first, first + linear.dim()), part(y.strides(), first, first + linear.dim()),
                           y_step),
                "index: values are not one run");
    offsets.resize(static_cast<size_t>(n));
    Dims sizes = part(x.sizes(), first, first + count), strides = part(x.strides(), first, first + count);
    const int64_t* at = linear.data<int64_t>();
    int64_t step;
    if (one_stride(sizes, strides, step)) {
      for (int64_t i = 0; i < n; ++i) offsets[static_cast<size_t>(i)] = at[i] * step;
    } else {
      parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          int64_t rest = at[i], offset = 0;
          for (int d = sizes.size() - 1; d >= 0; --d) {
            offset += rest % sizes[d] * strides[d];
            rest /= sizes[d];
          }
          offsets[static_cast<size_t>(i)] = offset;
        }
      });
    }
  }

  // f(y, x) with the offsets of row r of `before`.
  template <class F>
  void at_row(int64_t r, F&& f) const {
    int64_t y = 0, x = 0;
    for (int d = before.sizes.size() - 1; d >= 0; --d) {
      int64_t i = r % before.sizes[d];
      r /= before.sizes[d];
      y += i * before.strides[0][d];
      x += i * before.strides[1][d];
    }
    f(y, x);
  }
  // f(y, x) for each run of `after` along its last dimension.
  template <class F>
  void runs(int64_t y, int64_t x, F&& f) const {
    const int last = after.sizes.size() - 1;
    if (last == 0) return f(y, x);
    int64_t at[kMaxDims] = {};
    for (;;) {
      f(y, x);
      int d = last - 1;
      for (; d >= 0; --d) {
        y += after.strides[0][d];
        x += after.strides[1][d];
        if (++at[d] < after.sizes[d]) break;
        y -= at[d] * after.strides[0][d];
        x -= at[d] * after.strides[1][d];
        at[d] = 0;
      }
      if (d < 0) return;
    }
  }
};

template <class T>
void take_rows(const Geometry& g, T* y, const T* x) {
  const int64_t sy = g.after.strides[0].back(), sx = g.after.strides[1].back(), inner = g.inner;
  parallel_for(g.rows * g.n, std::max<int64_t>(1, kGrain / g.after_numel), [&](int64_t begin, int64_t end) {
    while (begin < end) {
      int64_t r = begin / g.n, from = begin % g.n, to = std::min(g.n, from + end - begin);
      begin += to - from;
      g.at_row(r, [&](int64_t y0, int64_t x0) {
        if (g.after_numel == 1) {
          for (int64_t i = from; i < to; ++i) y[y0 + i * g.y_step] = x[x0 + g.offsets[static_cast<size_t>(i)]];
          return;
        }
        for (int64_t i = from; i < to; ++i)
          g.runs(y0 + i * g.y_step, x0 + g.offsets[static_cast<size_t>(i)], [&](int64_t yo, int64_t xo) {
            if (sy == 1 && sx == 1)
              copy_line(y + yo, x + xo, inner * int64_t{sizeof(T)});
            else
              for (int64_t k = 0; k < inner; ++k) y[yo + k * sy] = x[xo + k * sx];
          });
      });
    }
  });
}

// Equal indices meet in rising order of n whatever the cut: by rows of `before`, by columns of `after`, or by ranges of
// places.
template <class T, class F>
void put_rows(const Geometry& g, T* x, const T* y, F f) {
  const int64_t sy = g.after.strides[0].back(), sx = g.after.strides[1].back(), work = g.n * g.after_numel;
  auto piece = [&](int64_t r, int64_t k0, int64_t k1, int64_t low, int64_t high) {
    g.at_row(r, [&](int64_t y0, int64_t x0) {
      if (g.after_numel == 1) {
        for (int64_t i = 0; i < g.n; ++i) {
          T& to = x[x0 + g.offsets[static_cast<size_t>(i)]];
          to = f(to, y[y0 + i * g.y_step]);
        }
        return;
      }
      for (int64_t i = 0; i < g.n; ++i) {
        int64_t place = g.offsets[static_cast<size_t>(i)];
        if (place < low || place >= high) continue;
        g.runs(y0 + i * g.y_step, x0 + place, [&](int64_t yo, int64_t xo) {
          if (sx == 1 && sy == 1) {
            for (int64_t k = k0; k < k1; ++k) x[xo + k] = f(x[xo + k], y[yo + k]);
          } else {
            for (int64_t k = k0; k < k1; ++k) x[xo + k * sx] = f(x[xo + k * sx], y[yo + k * sy]);
          }
        });
      }
    });
  };
  constexpr int64_t kColumns = 64, kRanges = 8, kWorthRanges = 32;
  auto whole = [&](int64_t r) { piece(r, 0, g.inner, INT64_MIN, INT64_MAX); };
  if (g.rows >= kRanges || g.rows * work <= kGrain) {
    parallel_for(g.rows, std::max<int64_t>(1, kGrain / work), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) whole(r);
    });
  } else if (g.inner >= 2 * kColumns) {
    const int64_t width = std::max(kColumns, (g.inner / num_threads() + 15) / 16 * 16),
                  cuts = (g.inner + width - 1) / width;
    parallel_for(g.rows * cuts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p)
        piece(p / cuts, p % cuts * width, std::min(g.inner, (p % cuts + 1) * width), INT64_MIN, INT64_MAX);
    });
  } else if (g.after_numel >= kWorthRanges) {
    const int64_t ranges = std::min<int64_t>(num_threads(), kRanges);
    const auto [low, high] = std::minmax_element(g.offsets.begin(), g.offsets.end());
    const int64_t first = *low, width = (*high - first) / ranges + 1;
    parallel_for(g.rows * ranges, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p)
        piece(p / ranges, 0, g.inner, first + p % ranges * width, first + (p % ranges + 1) * width);
    });
  } else {  // looking at every index on each thread would cost more than it saves
    for (int64_t r = 0; r < g.rows; ++r) whole(r);
  }
}

template <class T>
void add_rows(const Geometry& g, T* x, const T* y, const Scalar& alpha) {
  const Wide<T> a = alpha.to<Wide<T>>();
  if constexpr (std::is_same_v<T, bool>)
    put_rows(g, x, y, [a](bool v, bool w) { return v | (w & a); });
  else if (a == Wide<T>(1))
    put_rows(g, x, y, [](T v, T w) { return narrow<T>(static_cast<Wide<T>>(widen(v) + widen(w))); });
  else
    put_rows(g, x, y, [a](T v, T w) { return narrow<T>(static_cast<Wide<T>>(widen(v) + a * widen(w))); });
}

}  // namespace

void linear_index(const OpCall& c) {
  const auto& a = c.as<LinearIndexOp::Attrs>();
  const Tensor& out = c.out[0];
  int64_t* o = out.data<int64_t>();
  for (int t = 0; t < c.n_in; ++t) {
    const int64_t extent = a.extents[t];
    Tensor index = c.in[t];
    if (index.dtype() != DType::i64) index = index.detach().to(DType::i64);
    const int64_t* p = index.data<int64_t>();
    const Dims* sizes[2] = {&out.sizes(), &index.sizes()};
    const Dims* strides[2] = {&out.strides(), &index.strides()};
    StridedLoop<2> loop(out.sizes(), 2, sizes, strides);
    parallel_for(out.numel(), kGrain, [&](int64_t begin, int64_t end) {
      Cursor from(loop.sizes, loop.strides[1], begin);
      int64_t* to = o + begin;
      from.take(end - begin, [&](int64_t offset, int64_t stride, int64_t count) {
        for (int64_t k = 0; k < count; ++k, ++to) {
          int64_t i = p[offset + k * stride];
          WEFT_CHECK_INDEX(i < extent && i >= (a.wrap ? -extent : 0), "{}: index {} out of range for dim {} of size {}",
                           a.caller, i, a.dim + t, extent);
          i = i < 0 ? i + extent : i;
          *to = t == 0 ? i : *to * extent + i;
        }
      });
    });
  }
}

void index(const OpCall& c) {
  const auto& a = c.as<IndexOp::Attrs>();
  Geometry g(c.in[0], c.in[1], c.out[0], a.first, a.count);
  if (c.out[0].numel() == 0) return;
  for_width(c.in[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    take_rows(g, static_cast<T*>(c.out[0].data_ptr()), static_cast<const T*>(c.in[0].data_ptr()));
  });
}

void index_put(const OpCall& c) {
  const auto& a = c.as<IndexPutOp::Attrs>();
  const Tensor& self = c.out[0];
  const Tensor& values = c.in[2];
  if (values.numel() == 0) return;
  Geometry g(self, c.in[1], values, a.first, a.count);
  auto put = [&](auto type) {
    using T = typename decltype(type)::type;
    put_rows(g, static_cast<T*>(self.data_ptr()), static_cast<const T*>(values.data_ptr()), [](T, T w) { return w; });
  };
  auto add = [&](auto type) {
    using T = typename decltype(type)::type;
    add_rows(g, static_cast<T*>(self.data_ptr()), static_cast<const T*>(values.data_ptr()), a.alpha);
  };
  if (a.accumulate)
    for_dtype(self.dtype(), add);
  else
    for_width(self.dtype(), put);
}

namespace {
// f(piece, begin, end, element is not zero) for pieces of kGrain.
template <class F>
void each_piece(const Tensor& x, F&& f) {
  for_dtype(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* p = static_cast<const T*>(x.data_ptr());
    parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      f(begin / kGrain, begin, end, [p](int64_t i) { return static_cast<int64_t>(widen(p[i]) != Wide<T>(0)); });
    });
  });
}
std::vector<int64_t> nonzero_counts(const Tensor& x) {
  std::vector<int64_t> counts(static_cast<size_t>((x.numel() + kGrain - 1) / kGrain));
  each_piece(x, [&](int64_t piece, int64_t begin, int64_t end, auto is) {
    int64_t sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += is(i);
    counts[static_cast<size_t>(piece)] = sum;
  });
  return counts;
}
}  // namespace

void count_nonzero_elements(const OpCall& c) {
  int64_t sum = 0;
  for (int64_t n : nonzero_counts(c.in[0])) sum += n;
  *c.out[0].data<int64_t>() = sum;
}

void nonzero(const OpCall& c) {
  std::vector<int64_t> at = nonzero_counts(c.in[0]);
  int64_t sum = 0;
  for (int64_t& n : at) sum += std::exchange(n, sum);
  int64_t* out = c.out[0].data<int64_t>();
  // Without a branch on the values: every place is written, and kept where the value counts.
  each_piece(c.in[0], [&](int64_t piece, int64_t begin, int64_t end, auto is) {
    constexpr int64_t kBlock = 1024;
    int64_t places[kBlock], *to = out + at[static_cast<size_t>(piece)];
    for (int64_t from = begin; from < end; from += kBlock) {
      int64_t n = 0;
      for (int64_t i = from; i < std::min(end, from + kBlock); ++i) {
        places[n] = i;
        n += is(i);
      }
      to = std::copy_n(places, n, to);
    }
  });
}

}  // namespace weft::cpu
