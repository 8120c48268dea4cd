#pragma once
// How the pooling kernels walk: either a vector of channels at one output pixel (channels-last), or one channel's
// output row (anything else). Both add up a window in the same order: depth, height, width.
#include <algorithm>

#include "core/parallel.h"
#include "kernels/cpu/copy_matrix.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu::pool {

/// Storage dtypes are computed in float (f32, bf16, f16), double, or int64_t.
template <class S>
using Compute =
    std::conditional_t<std::is_same_v<S, double>, double, std::conditional_t<std::is_integral_v<S>, int64_t, float>>;
/// Places in a plane, as wide as the values they travel with.
template <class T>
using Place = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

inline bool by_channel(const Pool& p) { return p.x_strides[1] == 1 && p.y_strides[1] == 1 && p.channels > 1; }

inline int64_t outputs(const Pool& p, int d) { return p.axis[d].outputs(); }

/// n <= kLanes<T> values as T.
template <class T, class S>
Vec<T> load_as(const S* x, int64_t n) {
  if constexpr (std::is_same_v<T, S>) {
    return n == kLanes<T> ? load(x) : load_first(x, n);
  } else {
    alignas(64) T v[kLanes<T>] = {};
    for (int64_t i = 0; i < n; ++i) v[i] = widen<T>(x[i]);
    return load(v);
  }
}
template <class S, class T>
void store_as(S* y, const T* v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = narrow<S>(v[i]);
}

/// n <= kLanes<T> values `step` elements apart.
template <class T, class S>
Vec<T> load_apart(const S* x, int64_t step, int64_t n) {
  constexpr int lanes = kLanes<T>;
  if (step == 1) return load_as<T>(x, n);
  if constexpr (std::is_same_v<T, S>) {
    if (step == 2) {
      const int64_t span = 2 * n - 1;
      const Vec<T> a = span >= lanes ? load(x) : load_first(x, span);
      return even(a, span > lanes ? load_first(x + lanes, span - lanes) : Vec<T>{});
    }
  }
  alignas(64) T v[lanes] = {};
  for (int64_t i = 0; i < n; ++i) v[i] = widen<T>(x[i * step]);
  return load(v);
}

/// What one output pixel reads: offsets into x (of channel 0) and places in the plane.
struct Window {
  struct Entry {
    int64_t offset, place;
  };
  std::vector<Entry> entries;

  void set(const Pool& p, const int64_t* o) {
    entries.clear();
    const auto& [d, h, w] = p.axis;
    const int64_t* s = p.x_strides;
    for (int64_t id = d.begin[o[0]]; id < d.end[o[0]]; id += d.step)
      for (int64_t ih = h.begin[o[1]]; ih < h.end[o[1]]; ih += h.step)
        for (int64_t iw = w.begin[o[2]]; iw < w.end[o[2]]; iw += w.step)
          entries.push_back({id * s[2] + ih * s[3] + iw * s[4], (id * h.size + ih) * w.size + iw});
  }
};

/// What an average divides by at output o.
inline int64_t divisor(const Pool& p, const int64_t* o) {
  if (p.divisor_override) return p.divisor_override;
  int64_t n = 1;
  for (int d = 0; d < 3; ++d)
    n *= p.count_include_pad ? p.axis[d].padded[o[d]]
                             : std::max<int64_t>(0, p.axis[d].end[o[d]] - p.axis[d].begin[o[d]]);
  return n;
}

/// Calls f(o, y offset of (image, channel 0, o), image) for all output pixels, in parallel over (image, depth, row).
template <class F>
void each_pixel(const Pool& p, F f) {
  const int64_t D = outputs(p, 0), H = outputs(p, 1), W = outputs(p, 2);
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, W * p.channels));
  parallel_for(p.batch * D * H, grain, [&](int64_t begin, int64_t end) {
    Window window;
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / (D * H);
      int64_t o[3] = {line / H % D, line % H, 0};
      for (; o[2] < W; ++o[2]) {
        window.set(p, o);
        const int64_t* s = p.y_strides;
        f(o, image * s[0] + o[0] * s[2] + o[1] * s[3] + o[2] * s[4], image * p.x_strides[0], window);
      }
    }
  });
}

/// Calls f(first output, count, x offset, place) for the runs of one output row (image, channel, o[0], o[1]) that one
/// kernel position feeds; the run's inputs lie stride_of(p) columns apart. Order: depth, height, width; where
/// `backwards`, from the last column of a kernel to the first, so that an input meets its outputs in their order.
template <bool backwards = false, class F>
void each_run(const Pool& p, const int64_t* o, F f) {
  const auto& [d, h, w] = p.axis;
  const int64_t* s = p.x_strides;
  for (int64_t id = d.begin[o[0]]; id < d.end[o[0]]; id += d.step)
    for (int64_t ih = h.begin[o[1]]; ih < h.end[o[1]]; ih += h.step) {
      const int64_t offset = id * s[2] + ih * s[3], place = (id * h.size + ih) * w.size;
      if (w.kernel == 0) {  // adaptive: windows of any size, one output at a time
        for (int64_t ow = 0; ow < w.outputs(); ++ow)
          for (int64_t iw = w.begin[ow]; iw < w.end[ow]; ++iw) f(ow, int64_t{1}, offset + iw * s[4], place + iw);
        continue;
      }
      for (int64_t i = 0; i < w.kernel; ++i) {
        const int64_t k = backwards ? w.kernel - 1 - i : i;
        const int64_t shift = k * w.step - w.padding;  // column of output 0
        const int64_t lo = shift >= 0 ? 0 : (-shift + w.stride - 1) / w.stride;
        const int64_t hi = std::min(w.outputs(), shift >= w.size ? 0 : (w.size - shift + w.stride - 1) / w.stride);
        if (lo < hi) f(lo, hi - lo, offset + (lo * w.stride + shift) * s[4], place + lo * w.stride + shift);
      }
    }
}

/// Columns between the inputs of neighbouring outputs in a run.
inline int64_t run_stride(const Pool& p) { return p.axis[2].kernel ? p.axis[2].stride : 1; }

/// Calls f(o, x offset of (image, channel), y offset of the row) for all output rows, in parallel.
template <class F>
void each_row(const Pool& p, F f) {
  const int64_t D = outputs(p, 0), H = outputs(p, 1), W = outputs(p, 2);
  const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(1, W));
  parallel_for(p.batch * p.channels * D * H, grain, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t plane = line / (D * H), image = plane / p.channels, channel = plane % p.channels;
      const int64_t o[3] = {line / H % D, line % H, 0};
      const int64_t* s = p.y_strides;
      f(o, image * p.x_strides[0] + channel * p.x_strides[1],
        image * s[0] + channel * s[1] + o[0] * s[2] + o[1] * s[3]);
    }
  });
}

/// The backward passes add into planes of T: for every (image, group of channels) f gets a zeroed [D * H * W, lanes]
/// array laid out so that place i of lane c is at i * lanes + c; it is then written to dx. `lanes` is 1 unless
/// by_channel.
template <class S, class F>
void each_gradient_plane(const Pool& p, S* dx, F f) {
  using T = Compute<S>;
  const int64_t area = p.axis[0].size * p.axis[1].size * p.axis[2].size;
  // Few images: cut the channels as well.
  const int64_t width = !by_channel(p) ? 1 : p.batch >= 16 ? p.channels : std::min<int64_t>(p.channels, kLanes<T>);
  const int64_t groups = width ? (p.channels + width - 1) / width : 0;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, area * width));
  const int64_t* s = p.x_strides;
  const bool rows_follow = s[3] == p.axis[2].size * s[4] && s[2] == p.axis[1].size * s[3];
  parallel_for(p.batch * groups, grain, [&](int64_t begin, int64_t end) {
    const auto each = [&](auto body) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t image = t / groups, channel = t % groups * width;
        body(image, channel, std::min(width, p.channels - channel), dx + image * s[0] + channel * s[1]);
      }
    };
    const auto in_place = [&](int64_t lanes) { return std::is_same_v<S, T> && rows_follow && s[4] == lanes; };
    // All planes are zeroed first: adding to memory that has just been filled by whole vectors stalls.
    each([&](int64_t, int64_t, int64_t lanes, S* out) {
      if (in_place(lanes)) std::fill_n(out, area * lanes, S{});
    });
    each([&](int64_t image, int64_t channel, int64_t lanes, S* out) {
      if constexpr (std::is_same_v<S, T>) {
        if (in_place(lanes)) return f(image, channel, lanes, out);
      }
      T* plane = scratch<T>(Scratch::left, area * lanes);
      std::fill_n(plane, area * lanes, T(0));
      f(image, channel, lanes, plane);
      for (int64_t d = 0, i = 0; d < p.axis[0].size; ++d)
        for (int64_t h = 0; h < p.axis[1].size; ++h, i += p.axis[2].size)
          copy_matrix<S, T>({plane + i * lanes, lanes, 1}, {out + d * s[2] + h * s[3], s[4], s[1]}, p.axis[2].size,
                            lanes);
    });
  });
}

}  // namespace weft::cpu::pool
