#pragma once
// The weight gradient: dw[position][channel][lane] = sum over pixels of x * dy, on channels-last planes.
#include <algorithm>

#include "core/parallel.h"
#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_rows.h"
#include "kernels/cpu/conv_tiles.h"
#include "kernels/cpu/scratch.h"

namespace weft::cpu::conv {

template <class T, class S>
class WeightGradient {
 public:
  WeightGradient(const Conv& c, const S* x, const S* dy, S* dw, S* db)
      : c_(c), x_(x), dy_(dy), dw_(dw), db_(db), cin_(c.cin / c.groups), cout_(c.cout / c.groups) {
    positions_ = c.kernel[0] * c.kernel[1] * c.kernel[2];
    lanes_ = (cout_ + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
    // Few input channels cannot fill a tile: the kernel's columns (and rows, if three) then act as more channels.
    merged_ = cin_ <= 4 && c.kernel[2] > 1 && c.kernel[2] * cin_ <= 16 && c.dilation[2] == 1;
    const int64_t* s = c.w_strides;
    position_major_ = !(s[4] == 1 && positions_ > 1 && s[3] == c.kernel[2] && s[2] == c.kernel[1] * c.kernel[2] &&
                        s[1] == positions_);
    // Partial sums per chunk of planes: enough pixels that adding the parts up costs little beside making them.
    planes_ = c.batch * c.y_size[0];
    const int64_t pixels = std::max<int64_t>(1, c.y_size[1] * c.y_size[2]);
    chunk_ = std::max({int64_t{1}, (planes_ + 15) / 16, std::min(planes_, (256 + pixels - 1) / pixels)});
    chunks_ = (planes_ + chunk_ - 1) / chunk_;
    part_ =
        c.groups * (positions_ * cin_ + 1) * lanes_;  // the gradients of the weights of all groups, then of the bias
  }

  void run() const {
    T* parts = scratch<T>(Scratch::partial, std::max<int64_t>(1, chunks_) * part_);
    if (chunks_ == 0) std::fill_n(parts, part_, T(0));
    parallel_for(chunks_ * c_.groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) chunk(t / c_.groups, t % c_.groups, parts + t / c_.groups * part_);
    });
    parallel_for(part_, 16 * 1024, [&](int64_t begin, int64_t end) {
      for (int64_t k = 1; k < chunks_; ++k)
        for (int64_t i = begin; i < end; ++i) parts[i] += parts[k * part_ + i];
    });
    for (int64_t g = 0; g < c_.groups; ++g) write(g, parts);
  }

 private:
  // A channels-last plane of x or dy: pixel (h, w) at data + h * row + w * col.
  struct Plane {
    const T* data;
    int64_t row, col;
  };

  T* weights_of(T* part, int64_t g) const { return part + g * positions_ * cin_ * lanes_; }
  T* bias_of(T* part, int64_t g) const { return part + c_.groups * positions_ * cin_ * lanes_ + g * lanes_; }
  int64_t channel_pitch() const { return position_major_ ? lanes_ : positions_ * lanes_; }
  int64_t position_pitch() const { return position_major_ ? cin_ * lanes_ : lanes_; }

  void chunk(int64_t k, int64_t g, T* part) const {
    std::fill_n(weights_of(part, g), positions_ * cin_ * lanes_, T(0));
    std::fill_n(bias_of(part, g), lanes_, T(0));
    for (int64_t p = k * chunk_; p < std::min((k + 1) * chunk_, planes_); ++p) {
      const int64_t image = p / c_.y_size[0], depth = p % c_.y_size[0];
      const Plane grad = gradient_plane(image, depth, g);
      if (db_) add_bias(grad, bias_of(part, g));
      for (int64_t kd = 0; kd < c_.kernel[0]; ++kd) {
        const int64_t source = depth * c_.stride[0] - c_.padding[0] + kd * c_.dilation[0];
        if (source < 0 || source >= c_.x_size[0]) continue;
        T* dw = weights_of(part, g) + kd * c_.kernel[1] * c_.kernel[2] * position_pitch();
        if (merged_) {
          plane_merged(padded_plane(image, source, g), grad, dw);
        } else {
          plane(input_plane(image, source, g), grad, dw);
        }
      }
    }
  }

  Plane gradient_plane(int64_t image, int64_t depth, int64_t g) const {
    const int64_t* s = c_.y_strides;
    const S* from = dy_ + image * s[0] + g * cout_ * s[1] + depth * s[2];
    if constexpr (std::is_same_v<T, S>) {
      if (s[1] == 1 && lanes_ == cout_) return {from, s[3], s[4]};
    }
    const int64_t height = c_.y_size[1], width = c_.y_size[2];
    T* to = scratch<T>(Scratch::left, height * width * lanes_);
    if (lanes_ != cout_) std::fill_n(to, height * width * lanes_, T(0));
    channels_last(from, s, height, width, cout_, to, width * lanes_, lanes_);
    return {to, width * lanes_, lanes_};
  }

  Plane input_plane(int64_t image, int64_t depth, int64_t g) const {
    const int64_t* s = c_.x_strides;
    const S* from = x_ + image * s[0] + g * cin_ * s[1] + depth * s[2];
    if constexpr (std::is_same_v<T, S>) {
      if (s[1] == 1 || cin_ == 1) return {from, s[3], s[4]};
    }
    T* to = scratch<T>(Scratch::right, c_.x_size[1] * c_.x_size[2] * cin_);
    channels_last(from, s, c_.x_size[1], c_.x_size[2], cin_, to, c_.x_size[2] * cin_, cin_);
    return {to, c_.x_size[2] * cin_, cin_};
  }

  int64_t padded_size(int d) const {
    return (c_.y_size[d] - 1) * c_.stride[d] + (c_.kernel[d] - 1) * c_.dilation[d] + 1;
  }

  // With its padding written out: pixel (0, 0) is the first one that any output pixel reads.
  Plane padded_plane(int64_t image, int64_t depth, int64_t g) const {
    const int64_t* s = c_.x_strides;
    const int64_t top = c_.padding[1], left = c_.padding[2], height = padded_size(1), width = padded_size(2);
    T* to = scratch<T>(Scratch::right, height * width * cin_);
    std::fill_n(to, height * width * cin_, T(0));
    channels_last(x_ + image * s[0] + g * cin_ * s[1] + depth * s[2], s, std::min(c_.x_size[1], height - top),
                  std::min(c_.x_size[2], width - left), cin_, to + (top * width + left) * cin_, width * cin_, cin_);
    return {to, width * cin_, cin_};
  }

  static void channels_last(const S* from, const int64_t* s, int64_t height, int64_t width, int64_t channels, T* to,
                            int64_t row, int64_t col) {
    if (s[3] == width * s[4] && row == width * col) {  // one matrix [pixels, channels]
      copy_matrix<T, S>({from, s[4], s[1]}, {to, col, 1}, height * width, channels);
      return;
    }
    for (int64_t h = 0; h < height; ++h)
      copy_matrix<T, S>({from + h * s[3], s[4], s[1]}, {to + h * row, col, 1}, width, channels);
  }

  void add_bias(const Plane& g, T* bias) const {
    constexpr int n = kLanes<T>;
    for (int64_t lane = 0; lane < lanes_; lane += n) {
      Vec<T> total{};
      for (int64_t h = 0; h < c_.y_size[1]; ++h) {
        const T* p = g.data + h * g.row + lane;
        Vec<T> sum[4] = {};
        int64_t w = 0;
        for (; w + 4 <= c_.y_size[2]; w += 4)
          for (int j = 0; j < 4; ++j) sum[j] += load(p + (w + j) * g.col);
        for (; w < c_.y_size[2]; ++w) sum[0] += load(p + w * g.col);
        total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
      }
      store(bias + lane, load(bias + lane) + total);
    }
  }

  // Output positions of dimension d whose input at kernel position k exists: [begin, end).
  std::pair<int64_t, int64_t> valid(int d, int64_t k) const {
    const int64_t offset = k * c_.dilation[d] - c_.padding[d], s = c_.stride[d];
    const int64_t begin = offset >= 0 ? 0 : (-offset + s - 1) / s;
    const int64_t room = c_.x_size[d] - offset;  // first output position past the end
    return {begin, std::min(c_.y_size[d], room <= 0 ? 0 : (room + s - 1) / s)};
  }

  int64_t strip_rows(int64_t row_bytes) const {
    return std::max<int64_t>(1, 36 * 1024 / std::max<int64_t>(1, row_bytes));
  }

  void plane(const Plane& x, const Plane& g, T* dw) const {
    const int64_t step = strip_rows((c_.x_size[2] * cin_ * c_.stride[1] + c_.y_size[2] * lanes_) * sizeof(T));
    for (int64_t first = 0; first < c_.y_size[1]; first += step)
      for (int64_t kh = 0; kh < c_.kernel[1]; ++kh) {
        auto [top, bottom] = valid(1, kh);
        top = std::max(top, first), bottom = std::min(bottom, first + step);
        if (top >= bottom) continue;
        for (int64_t kw = 0; kw < c_.kernel[2]; ++kw) {
          const auto [left, right] = valid(2, kw);
          if (left >= right) continue;
          const Pixels p{bottom - top, right - left, c_.stride[1] * x.row, c_.stride[2] * x.col, g.row, g.col, 0};
          const T* px = x.data + (top * c_.stride[1] - c_.padding[1] + kh * c_.dilation[1]) * x.row +
                        (left * c_.stride[2] - c_.padding[2] + kw * c_.dilation[2]) * x.col;
          tiles<1>(p, px, g.data + top * g.row + left * g.col, dw + (kh * c_.kernel[2] + kw) * position_pitch(), cin_,
                   channel_pitch(), 0);
        }
      }
  }

  // Channel q of the merged kernel is column q / cin, channel q % cin. dw rows then step unevenly, so the sums are made
  // in [kernel row][merged channel][lane] order and added at the end.
  void plane_merged(const Plane& x, const Plane& g, T* dw) const {
    const int64_t columns = c_.kernel[2], channels = columns * cin_;
    T* sums = scratch<T>(Scratch::staging, c_.kernel[1] * channels * lanes_);
    std::fill_n(sums, c_.kernel[1] * channels * lanes_, T(0));
    const Pixels p{c_.y_size[1], c_.y_size[2], c_.stride[1] * x.row,  c_.stride[2] * x.col,
                   g.row,        g.col,        c_.dilation[1] * x.row};
    if (c_.kernel[1] == 3 && (channels == 3 || (channels == 9 && kRegisters == 32))) {  // the sums fit in registers
      tiles<3>(p, x.data, g.data, sums, channels, lanes_, channels * lanes_);
    } else {
      for (int64_t kh = 0; kh < c_.kernel[1]; ++kh)
        tiles<1>(p, x.data + kh * p.x_tap, g.data, sums + kh * channels * lanes_, channels, lanes_, 0);
    }
    for (int64_t k = 0; k < c_.kernel[1] * columns; ++k)
      for (int64_t i = 0; i < cin_; ++i) {
        const T* from = sums + (k * cin_ + i) * lanes_;
        T* to = dw + k * position_pitch() + i * channel_pitch();
        for (int64_t lane = 0; lane < lanes_; ++lane) to[lane] += from[lane];
      }
  }

  // All channels and lanes of one kernel position (R = 1) or of three kernel rows at once.
  template <int R>
  void tiles(const Pixels& p, const T* x, const T* g, T* dw, int64_t channels, int64_t channel_pitch,
             int64_t tap_pitch) const {
    constexpr int n = kLanes<T>;
    int64_t lane = 0;
    while (lane < lanes_) {
      const bool two = lanes_ - lane >= 2 * n && channels != 9 && (R == 1 || kRegisters == 32);
      for (int64_t q = 0; q < channels;) {
        OuterFn<T> fn;
        int width;
        const int64_t left = channels - q;
        if constexpr (R == 3) {
          width = int(channels);
          fn = channels == 9 ? outer<T, 9, 1, 3> : two ? outer<T, 3, 2, 3> : outer<T, 3, 1, 3>;
        } else if (left >= 16 && !two && kRegisters == 32) {
          width = 16, fn = outer<T, 16, 1, 1>;
        } else if (left >= 12 && left != 16 && two && kRegisters == 32) {
          width = 12, fn = outer<T, 12, 2, 1>;
        } else if (channels == 9) {
          width = 9, fn = outer<T, 9, 1, 1>;
        } else if (left >= 8 && (!two || kRegisters == 32)) {
          width = 8, fn = two ? outer<T, 8, 2, 1> : outer<T, 8, 1, 1>;
        } else if (left >= 4) {
          width = 4, fn = two ? outer<T, 4, 2, 1> : outer<T, 4, 1, 1>;
        } else {
          width = 1, fn = two ? outer<T, 1, 2, 1> : outer<T, 1, 1, 1>;
        }
        fn(p, x + q, g + lane, dw + q * channel_pitch + lane, channel_pitch, tap_pitch);
        q += width;
      }
      lane += two ? 2 * n : n;
    }
  }

  void write(int64_t g, T* parts) const {
    const T* from = weights_of(parts, g);
    const int64_t* s = c_.w_strides;
    S* to = dw_ + g * cout_ * s[0];
    if (!position_major_) {
      copy_matrix<S, T>({from, lanes_, 1}, {to, 1, s[0]}, cin_ * positions_, cout_);
    } else {
      for (int64_t kd = 0; kd < c_.kernel[0]; ++kd)
        for (int64_t kh = 0; kh < c_.kernel[1]; ++kh)
          for (int64_t kw = 0; kw < c_.kernel[2]; ++kw, from += cin_ * lanes_)
            copy_matrix<S, T>({from, lanes_, 1}, {to + kd * s[2] + kh * s[3] + kw * s[4], s[1], s[0]}, cin_, cout_);
    }
    const T* bias = bias_of(parts, g);
    for (int64_t i = 0; db_ && i < cout_; ++i) db_[g * cout_ + i] = narrow<S>(bias[i]);
  }

  const Conv& c_;
  const S *x_, *dy_;
  S *dw_, *db_;
  int64_t cin_, cout_;  // per group
  int64_t positions_, lanes_, planes_, chunk_, chunks_, part_;
  bool merged_, position_major_;
};

template <class T, class S>
void weight_gradient(const Conv& c, const void* x, const void* dy, void* dw, void* db) {
  WeightGradient<T, S>(c, static_cast<const S*>(x), static_cast<const S*>(dy), static_cast<S*>(dw), static_cast<S*>(db))
      .run();
}

}  // namespace weft::cpu::conv
