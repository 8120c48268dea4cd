#include "kernels/cpu/pool.h"

#include <limits>

#include "core/error.h"
#include "kernels/cpu/pool_lines.h"

namespace weft::cpu {

PoolAxis pool_axis(int64_t size, int64_t outputs, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  PoolAxis a;
  a.size = size, a.step = dilation, a.kernel = kernel, a.stride = stride, a.padding = padding;
  for (int64_t o = 0; o < outputs; ++o) {
    int64_t begin = o * stride - padding;
    const int64_t end = begin + (kernel - 1) * dilation + 1;
    a.padded.push_back(std::min(end, size + padding) - begin);
    if (begin < 0) begin += (-begin + dilation - 1) / dilation * dilation;
    a.begin.push_back(begin);
    a.end.push_back(std::min(end, size));
  }
  return a;
}

PoolAxis adaptive_axis(int64_t size, int64_t outputs) {
  PoolAxis a;
  a.size = size;
  for (int64_t o = 0; o < outputs; ++o) {
    a.begin.push_back(o * size / outputs);
    a.end.push_back(((o + 1) * size + outputs - 1) / outputs);
    a.padded.push_back(a.end.back() - a.begin.back());
  }
  return a;
}

namespace {

using namespace pool;

template <class T>
T lowest() {
  if constexpr (std::is_floating_point_v<T>)
    return -std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::min();
}

template <class S>
void max_forward_by_channel(const Pool& p, const S* x, S* y, int64_t* index) {
  using T = Compute<S>;
  using I = Place<T>;
  constexpr int n = kLanes<T>;
  each_pixel(p, [&](const int64_t*, int64_t to, int64_t from, const Window& window) {
    for (int64_t c = 0; c < p.channels; c += n) {
      const int64_t lanes = std::min<int64_t>(n, p.channels - c);
      Vec<T> best = splat(lowest<T>());
      Vec<I> place = splat(I(window.entries.empty() ? 0 : window.entries[0].place));
      for (const auto& e : window.entries) {
        const Vec<T> v = load_as<T>(x + from + e.offset + c, lanes);
        const auto take = (v > best) | (v != v);
        best = take ? v : best;
        place = take ? splat(I(e.place)) : place;
      }
      alignas(64) T values[n];
      alignas(64) I places[n];
      store(values, best);
      store(places, place);
      store_as(y + to + c, values, lanes);
      for (int64_t i = 0; i < lanes; ++i) index[to + c + i] = places[i];
    }
  });
}

// A whole row where no window reaches into the padding on its left or right: the best stay in registers.
template <class S>
void max_row_inside(const Pool& p, const int64_t* o, const S* x, S* y, int64_t* index) {
  using T = Compute<S>;
  using I = Place<T>;
  constexpr int n = kLanes<T>;
  const auto& [d, h, w] = p.axis;
  const int64_t* s = p.x_strides;
  const int64_t step = p.y_strides[4];
  Vec<I> ramp;
  for (int i = 0; i < n; ++i) ramp[i] = I(i * w.stride);
  for (int64_t i = 0; i < w.outputs(); i += n) {
    const int64_t lanes = std::min<int64_t>(n, w.outputs() - i);
    Vec<T> best = splat(lowest<T>());
    Vec<I> place = ramp + splat(I((d.begin[o[0]] * h.size + h.begin[o[1]]) * w.size + i * w.stride));
    for (int64_t id = d.begin[o[0]]; id < d.end[o[0]]; id += d.step)
      for (int64_t ih = h.begin[o[1]]; ih < h.end[o[1]]; ih += h.step)
        for (int64_t k = i * w.stride; k < i * w.stride + w.kernel * w.step; k += w.step) {
          const Vec<T> v = load_apart<T>(x + id * s[2] + ih * s[3] + k * s[4], w.stride * s[4], lanes);
          const auto take = (v > best) | (v != v);
          best = take ? v : best;
          place = take ? ramp + splat(I((id * h.size + ih) * w.size + k)) : place;
        }
    alignas(64) T values[n];
    alignas(64) I places[n];
    store(values, best);
    store(places, place);
    if (step == 1) {
      store_as(y + i, values, lanes);
      for (int64_t j = 0; j < lanes; ++j) index[i + j] = places[j];
    } else {
      for (int64_t j = 0; j < lanes; ++j) y[(i + j) * step] = narrow<S>(values[j]), index[(i + j) * step] = places[j];
    }
  }
}

// One run of a row: outputs [0, count), inputs `step` apart, the first at place `first`, the others `stride` on.
template <class T, class I, class S>
void max_run(T* best, I* place, const S* x, int64_t count, int64_t step, I first, I stride) {
  constexpr int n = kLanes<T>;
  Vec<I> ramp;
  for (int i = 0; i < n; ++i) ramp[i] = I(i) * stride;
  for (int64_t i = 0; i < count; i += n) {
    const int64_t lanes = std::min<int64_t>(n, count - i);
    const Vec<T> v = load_apart<T>(x + i * step, step, lanes), b = load(best + i);
    const Vec<I> at = ramp + splat(I(first + I(i) * stride));
    const auto take = (v > b) | (v != v);
    store_first<T>(best + i, take ? v : b, lanes);
    store_first<I>(place + i, take ? at : load(place + i), lanes);
  }
}

template <class S>
void max_forward_by_row(const Pool& p, const S* x, S* y, int64_t* index) {
  using T = Compute<S>;
  using I = Place<T>;
  const PoolAxis& w = p.axis[2];
  const bool inside = w.kernel > 0 && w.padding == 0 && w.outputs() > 0 &&
                      (w.outputs() - 1) * w.stride + (w.kernel - 1) * w.step < w.size;
  each_row(p, [&](const int64_t* o, int64_t from, int64_t to) {
    if (inside) return max_row_inside(p, o, x + from, y + to, index + to);
    T* best = scratch<T>(Scratch::left, w.outputs() + kLanes<T>);  // whole vectors are read
    I* place = scratch<I>(Scratch::right, w.outputs() + kLanes<T>);
    const int64_t first = (p.axis[0].begin[o[0]] * p.axis[1].size + p.axis[1].begin[o[1]]) * w.size;
    for (int64_t i = 0; i < w.outputs(); ++i) best[i] = lowest<T>(), place[i] = I(first + w.begin[i]);
    const int64_t stride = run_stride(p);
    each_run(p, o, [&](int64_t lo, int64_t count, int64_t offset, int64_t at) {
      max_run<T, I>(best + lo, place + lo, x + from + offset, count, stride * p.x_strides[4], I(at), I(stride));
    });
    for (int64_t i = 0; i < w.outputs(); ++i) {
      y[to + i * p.y_strides[4]] = narrow<S>(best[i]);
      index[to + i * p.y_strides[4]] = place[i];
    }
  });
}

template <class S>
void max_forward(const Pool& p, const void* x, void* y, int64_t* index) {
  by_channel(p) ? max_forward_by_channel<S>(p, static_cast<const S*>(x), static_cast<S*>(y), index)
                : max_forward_by_row<S>(p, static_cast<const S*>(x), static_cast<S*>(y), index);
}

// Calls f(offset in y of output (o, channel), o) for the first output of every row of one image, in order.
template <class F>
void each_output_row(const Pool& p, int64_t image, int64_t channel, F f) {
  const int64_t* s = p.y_strides;
  int64_t o[3] = {0, 0, 0};
  for (o[0] = 0; o[0] < outputs(p, 0); ++o[0])
    for (o[1] = 0; o[1] < outputs(p, 1); ++o[1]) f(image * s[0] + channel * s[1] + o[0] * s[2] + o[1] * s[3], o);
}

template <class S>
void max_backward(const Pool& p, const void* dy_, const int64_t* index, void* dx_) {
  using T = Compute<S>;
  const S* dy = static_cast<const S*>(dy_);
  each_gradient_plane<S>(p, static_cast<S*>(dx_), [&](int64_t image, int64_t channel, int64_t lanes, T* dx) {
    const int64_t step = p.y_strides[4], count = outputs(p, 2);
    each_output_row(p, image, channel, [&](int64_t at, int64_t*) {
      const S* g = dy + at;
      const int64_t* to = index + at;
      if (lanes == 1) {
        for (int64_t i = 0; i < count; ++i) dx[to[i * step]] += widen<T>(g[i * step]);
        return;
      }
      for (int64_t i = 0; i < count; ++i)
        for (int64_t c = 0; c < lanes; ++c) dx[to[i * step + c] * lanes + c] += widen<T>(g[i * step + c]);
    });
  });
}

template <class S>
void gather(const Pool& p, const void* x_, const int64_t* index, void* y_) {
  const S* x = static_cast<const S*>(x_);
  S* y = static_cast<S*>(y_);
  const int64_t height = p.axis[1].size, width = p.axis[2].size;
  each_row(p, [&](const int64_t*, int64_t from, int64_t to) {
    for (int64_t i = 0; i < p.axis[2].outputs(); ++i) {
      const int64_t place = index[to + i * p.y_strides[4]], row = place / width;
      y[to + i * p.y_strides[4]] =
          x[from + row / height * p.x_strides[2] + row % height * p.x_strides[3] + place % width * p.x_strides[4]];
    }
  });
}

template <class S>
void avg_forward(const Pool& p, const void* x_, void* y_) {
  using T = Compute<S>;
  constexpr int n = kLanes<T>;
  const S* x = static_cast<const S*>(x_);
  S* y = static_cast<S*>(y_);
  if (by_channel(p)) {
    each_pixel(p, [&](const int64_t* o, int64_t to, int64_t from, const Window& window) {
      const T divide = T(divisor(p, o));
      for (int64_t c = 0; c < p.channels; c += n) {
        const int64_t lanes = std::min<int64_t>(n, p.channels - c);
        Vec<T> sum{};
        for (const auto& e : window.entries) sum += load_as<T>(x + from + e.offset + c, lanes);
        alignas(64) T values[n];
        store(values, sum / splat(divide));
        store_as(y + to + c, values, lanes);
      }
    });
    return;
  }
  each_row(p, [&](const int64_t* row, int64_t from, int64_t to) {
    const int64_t count = p.axis[2].outputs(), step = run_stride(p) * p.x_strides[4];
    T* sum = scratch<T>(Scratch::left, count + n);  // whole vectors are read
    std::fill_n(sum, count, T(0));
    each_run(p, row, [&](int64_t lo, int64_t run, int64_t offset, int64_t) {
      for (int64_t i = 0; i < run; i += n) {
        const int64_t lanes = std::min<int64_t>(n, run - i);
        T* to_sum = sum + lo + i;
        store_first<T>(to_sum, load(to_sum) + load_apart<T>(x + from + offset + i * step, step, lanes), lanes);
      }
    });
    int64_t o[3] = {row[0], row[1], 0};
    for (; o[2] < count; ++o[2]) y[to + o[2] * p.y_strides[4]] = narrow<S>(T(sum[o[2]] / T(divisor(p, o))));
  });
}

template <class S>
void avg_backward(const Pool& p, const void* dy_, void* dx_) {
  using T = Compute<S>;
  constexpr int n = kLanes<T>;
  const S* dy = static_cast<const S*>(dy_);
  const int64_t count = outputs(p, 2), step = p.y_strides[4];
  each_gradient_plane<S>(p, static_cast<S*>(dx_), [&](int64_t image, int64_t channel, int64_t lanes, T* dx) {
    Window window;
    each_output_row(p, image, channel, [&](int64_t at, int64_t* o) {
      if (lanes == 1) {
        T* g = scratch<T>(Scratch::right, count);
        for (o[2] = 0; o[2] < count; ++o[2]) g[o[2]] = widen<T>(dy[at + o[2] * step]) / T(divisor(p, o));
        const int64_t stride = run_stride(p);
        each_run<true>(p, o, [&](int64_t lo, int64_t run, int64_t, int64_t place) {
          for (int64_t i = 0; i < run; ++i) dx[place + i * stride] += g[lo + i];
        });
        o[2] = 0;
        return;
      }
      for (; o[2] < count; ++o[2]) {
        window.set(p, o);
        const Vec<T> divide = splat(T(divisor(p, o)));
        for (int64_t c = 0; c < lanes; c += n) {
          const int64_t used = std::min<int64_t>(n, lanes - c);
          const Vec<T> g = load_as<T>(dy + at + o[2] * step + c, used) / divide;
          for (const auto& e : window.entries) {
            T* to = dx + e.place * lanes + c;
            store_first<T>(to, load_first(to, used) + g, used);
          }
        }
      }
      o[2] = 0;
    });
  });
}

// Runs `body` with a value of the storage type; bool has no pooling, integers only where `integers`.
template <class F>
void with_storage(DType t, bool integers, F body) {
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
      break;
  }
  if (integers) switch (t) {
      case DType::i8:
        return body(int8_t{});
      case DType::u8:
        return body(uint8_t{});
      case DType::i16:
        return body(int16_t{});
      case DType::i32:
        return body(int32_t{});
      case DType::i64:
        return body(int64_t{});
      default:
        break;
    }
  WEFT_FAIL("pooling: no kernel for {}; convert x to a number dtype", t);
}

}  // namespace

void max_pool_forward(const Pool& p, const void* x, void* y, int64_t* index) {
  WEFT_CHECK(p.axis[0].size * p.axis[1].size * p.axis[2].size <= std::numeric_limits<int32_t>::max(),
             "max pooling: a plane of 2^31 or more elements; pool parts of it");
  with_storage(p.dtype, true, [&](auto s) { max_forward<decltype(s)>(p, x, y, index); });
}
void max_pool_backward(const Pool& p, const void* dy, const int64_t* index, void* dx) {
  with_storage(p.dtype, false, [&](auto s) { max_backward<decltype(s)>(p, dy, index, dx); });
}
void max_pool_gather(const Pool& p, const void* x, const int64_t* index, void* y) {
  with_storage(p.dtype, false, [&](auto s) { gather<decltype(s)>(p, x, index, y); });
}
void avg_pool_forward(const Pool& p, const void* x, void* y) {
  with_storage(p.dtype, true, [&](auto s) { avg_forward<decltype(s)>(p, x, y); });
}
void avg_pool_backward(const Pool& p, const void* dy, void* dx) {
  with_storage(p.dtype, false, [&](auto s) { avg_backward<decltype(s)>(p, dy, dx); });
}

}  // namespace weft::cpu
