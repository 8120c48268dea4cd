#pragma once
// y = sum over taps of W_tap x: the engine behind the forward pass and the data gradient.
#include <algorithm>
#include <vector>

#include "core/packed_weight.h"
#include "core/parallel.h"
#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_rows.h"
#include "kernels/cpu/conv_tiles.h"
#include "kernels/cpu/scratch.h"

namespace weft::cpu::conv {

/// The input and the output of a correlation; for the data gradient the input is dy and the output dx.
struct Correlation {
  const Conv& c;
  bool transposed;    // data gradient
  int64_t cin, cout;  // per group
  const int64_t *in_size, *out_size, *in_strides, *out_strides;
};

/// The input coordinate that kernel position k brings to output coordinate o in dimension d; -1 where there is none.
inline int64_t source(const Correlation& r, int d, int64_t o, int64_t k) {
  const Conv& c = r.c;
  int64_t i;
  if (r.transposed) {
    i = o + c.padding[d] - k * c.dilation[d];
    if (i < 0 || i % c.stride[d] != 0) return -1;
    i /= c.stride[d];
  } else {
    i = o * c.stride[d] - c.padding[d] + k * c.dilation[d];
  }
  return i >= 0 && i < r.in_size[d] ? i : -1;
}

/// Output columns start, start + step, ... (count of them) share their kernel columns.
struct ColumnPhase {
  int64_t start, count;
  struct Tap {
    int64_t kernel_column, offset;  // offset: in the packed row, of the first output column
  };
  std::vector<Tap> taps;  // by ascending offset
  int run = 1;            // this many taps are neighbours: one pass of a tile does them all
};
struct Columns {
  int64_t step = 1;
  std::vector<ColumnPhase> phases;
  RowPlan rows;
};

/// Phases of the output columns and the packing of input rows. `block`: channels kept side by side.
Columns plan_columns(const Correlation& r, int64_t block);

/// Widths (of conv_tiles.h) that cut `count` pixels at least cost, for tiles of `vectors` vectors, none wider than
/// `widest`.
std::vector<int> cut_row(int64_t count, int vectors, int widest);

/// One block of output channels: lanes [begin, begin + vectors * kLanes).
struct LaneBlock {
  int64_t begin;
  int vectors;
};
template <class T>
std::vector<LaneBlock> lane_blocks(int64_t channels, int most) {
  std::vector<LaneBlock> blocks;
  for (int64_t i = 0; i < channels; i += most * kLanes<T>) blocks.push_back({i, channels - i > kLanes<T> ? most : 1});
  return blocks;
}
template <class T>
int64_t padded_lanes(int64_t channels) {
  return (channels + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

/// Weights [lane][channel][position], positions and channels of a lane side by side, `lane_stride` from lane to lane:
/// to [position][channel][lanes], lanes beyond `used` zero. Whole squares of registers are transposed, whatever the
/// number of positions.
template <class T>
void pack_lanes(const T* w, int64_t lane_stride, int64_t used, int64_t channels, int64_t positions, int64_t lanes,
                T* out) {
  constexpr int n = kLanes<T>;
  const int64_t columns = channels * positions;
  for (int64_t lane = 0; lane < lanes; lane += n) {
    const int64_t rows = std::clamp<int64_t>(used - lane, 0, n);
    int64_t channel = 0, position = 0;
    for (int64_t column = 0; column < columns; column += n) {
      const int64_t count = std::min<int64_t>(n, columns - column);
      const T* from = w + lane * lane_stride + column;
      Vec<T> r[n];
      if (rows == n && count == n) {
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) r[i] = load(from + i * lane_stride);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) r[i] = i < rows ? load_first(from + i * lane_stride, count) : Vec<T>{};
      }
      transpose<T>(r);
      for (int64_t i = 0; i < count; ++i) {
        store(out + (position * channels + channel) * lanes + lane, r[i]);
        if (++position == positions) position = 0, ++channel;
      }
    }
  }
}

/// Weights as the tiles read them: [group][lane block][kernel position][input channel][lanes], absent lanes zero.
/// Block b of group g starts at (g * padded_lanes + b.begin) * positions * cin.
template <class T, class S>
void pack_weights(const Correlation& r, const std::vector<LaneBlock>& blocks, const S* w, T* packed) {
  const Conv& c = r.c;
  const int64_t positions = c.kernel[0] * c.kernel[1] * c.kernel[2];
  const int64_t* s = c.w_strides;
  const int64_t lanes_stride = r.transposed ? s[1] : s[0], channel_stride = r.transposed ? s[0] : s[1];
  const bool flat_positions = (c.kernel[2] == 1 || s[4] == 1) && (c.kernel[1] == 1 || s[3] == c.kernel[2] * s[4]) &&
                              (c.kernel[0] == 1 || s[2] == c.kernel[1] * c.kernel[2] * s[4]) && s[4] == 1 &&
                              positions > 1;
  for (int64_t g = 0; g < c.groups; ++g)
    for (const LaneBlock& b : blocks) {
      const int64_t lanes = b.vectors * kLanes<T>, used = std::min(lanes, r.cout - b.begin);
      T* out = packed + (g * padded_lanes<T>(r.cout) + b.begin) * positions * r.cin;
      if (used < lanes) std::fill_n(out, positions * r.cin * lanes, T(0));
      // w [cout of all groups, cin of one group]: the group moves along dimension 0 in both directions.
      const S* from = w + g * (r.transposed ? r.cin : r.cout) * s[0] + b.begin * lanes_stride;
      if constexpr (std::is_same_v<T, S>) {
        if (flat_positions && channel_stride == positions) {
          pack_lanes(from, lanes_stride, used, r.cin, positions, lanes, out);
          continue;
        }
      }
      if (flat_positions) {  // [lane][position] panels of one channel are transposed
        for (int64_t i = 0; i < r.cin; ++i)
          copy_matrix<T, S>({from + i * channel_stride, 1, lanes_stride}, {out + i * lanes, r.cin * lanes, 1},
                            positions, used);
        continue;
      }
      for (int64_t kd = 0, k = 0; kd < c.kernel[0]; ++kd)
        for (int64_t kh = 0; kh < c.kernel[1]; ++kh)
          for (int64_t kw = 0; kw < c.kernel[2]; ++kw, ++k)
            copy_matrix<T, S>({from + kd * s[2] + kh * s[3] + kw * s[4], channel_stride, lanes_stride},
                              {out + k * r.cin * lanes, lanes, 1}, r.cin, used);
    }
}

template <class T, class S>
class Correlator {
 public:
  Correlator(const Correlation& r, const S* x, const S* w, const S* bias, S* y)
      : r_(r), c_(r.c), x_(x), y_(y), positions_(c_.kernel[0] * c_.kernel[1] * c_.kernel[2]) {
    const bool side_by_side = r.cin % kLanes<T> == 0;
    columns_ = plan_columns(r, side_by_side ? kLanes<T> : 1);
    planes_ = suits_planes(side_by_side);
    if (planes_) columns_ = plan_columns(r, 1);
    in_place_ = reads_in_place();
    channels_ = {r.cin / columns_.rows.block, in_place_ ? r.in_strides[1] : columns_.rows.pitch()};
    // Wide rows of three neighbouring taps fill the registers with one vector of channels; others need two.
    bool wide = true;
    for (const ColumnPhase& p : columns_.phases) wide = wide && p.run == 3 && p.count >= 12;
    blocks_ = lane_blocks<T>(r.cout, wide && !planes_ ? 1 : 2);
    const int64_t lanes = padded_lanes<T>(r.cout) * c_.groups;
    const int64_t size = lanes * positions_ * r.cin;
    T* b = scratch<T>(Scratch::weights, lanes + size);
    bias_ = b;
    T* weights = b + lanes;
    bool fresh = true;
    if (PackedWeight* kept = packed_weight()) weights = static_cast<T*>(kept->get(w, size * sizeof(T), fresh));
    weights_ = weights;
    if (fresh) pack_weights<T, S>(r, blocks_, w, weights);
    for (int64_t g = 0; g < c_.groups; ++g)
      for (int64_t i = 0; i < padded_lanes<T>(r.cout); ++i)
        *b++ = bias && i < r.cout ? widen<T>(bias[g * r.cout + i]) : T(0);

    for (const ColumnPhase& p : columns_.phases)
      for (int v = 1; v <= 2; ++v)
        cuts_[v - 1].push_back(cut_row(p.count, v, v == 1 ? kMaxWidth<T, 1> : kMaxWidth<T, 2>));
    plan_strips();
  }

  void run() const {
    const int64_t strips = (r_.out_size[1] + strip_rows_ - 1) / strip_rows_;
    const int64_t tasks = c_.batch * c_.groups * r_.out_size[0] * strips;
    const double work = double(strip_rows_) * r_.out_size[2] * positions_ * r_.cin * padded_lanes<T>(r_.cout);
    parallel_for(tasks, std::max<int64_t>(1, int64_t(400e3 / (work + 1))), [&](int64_t begin, int64_t end) {
      Strip s;
      for (int64_t t = begin; t < end; ++t) {
        int64_t i = t;
        const int64_t first = i % strips * strip_rows_;
        i /= strips;
        s.depth = i % r_.out_size[0];
        i /= r_.out_size[0];
        s.group = i % c_.groups;
        s.image = i / c_.groups;
        s.begin = first;
        s.end = std::min(first + strip_rows_, r_.out_size[1]);
        strip(s);
      }
    });
  }

 private:
  struct Strip {
    int64_t image, group, depth, begin, end;
    int64_t first_row = 0;                            // input row of slot 0
    int64_t slots = 0;                                // per kernel plane
    std::vector<char> packed;                         // slot filled?
    std::vector<Tap<T>> taps;                         // of one output row, one column phase
    std::vector<std::pair<const T*, int64_t>> lines;  // packed input row, kernel row * kernel width
  };

  // Whether lanes are pixels instead of output channels: rows of contiguous pixels on both sides that fill vectors, and
  // no gain from channels side by side (few channels, or one position, for which nothing is packed).
  bool suits_planes(bool side_by_side) const {
    constexpr int n = kLanes<T>;
    const int64_t pixels = r_.out_size[2], vectors = (pixels + n - 1) / n;
    return std::is_same_v<T, S> && r_.in_strides[4] == 1 && r_.out_strides[4] == 1 && columns_.step == 1 &&
           (positions_ == 1 || !side_by_side) && 4 * pixels >= 3 * n * vectors;
  }
  // Whether the tiles can read an input row where it lies.
  bool reads_in_place() const {
    return planes_ && columns_.rows.first == 0 && columns_.rows.step == 1 && columns_.rows.width <= r_.in_size[2];
  }

  void plan_strips() {
    const int64_t row_bytes = std::max<int64_t>(1, columns_.rows.elements() * sizeof(T));
    const int64_t step = r_.transposed ? 1 : c_.stride[1];
    const int64_t reach = (c_.kernel[1] - 1) * c_.dilation[1];
    const int64_t fit = 64 * 1024 / row_bytes;  // measured: more rows at once save repacking their overlap
    strip_rows_ = std::clamp<int64_t>((fit - reach) / step, 1, std::max<int64_t>(1, r_.out_size[1]));
    while (strip_rows_ > 1 &&
           c_.batch * c_.groups * r_.out_size[0] * ((r_.out_size[1] + strip_rows_ - 1) / strip_rows_) < 16)
      strip_rows_ = (strip_rows_ + 1) / 2;
  }

  void strip(Strip& s) const {
    // Input rows that the strip can touch, in one kernel plane.
    int64_t lo = r_.in_size[1], hi = -1;
    for (int64_t o = s.begin; o < s.end; ++o)
      for (int64_t k = 0; k < c_.kernel[1]; ++k)
        if (const int64_t i = source(r_, 1, o, k); i >= 0) lo = std::min(lo, i), hi = std::max(hi, i);
    s.first_row = lo;
    s.slots = std::max<int64_t>(0, hi - lo + 1);
    s.packed.assign(s.slots * c_.kernel[0], 0);
    T* rows = scratch<T>(Scratch::rows, s.slots * c_.kernel[0] * columns_.rows.elements());

    const bool whole =
        r_.out_strides[3] == r_.out_size[2] * r_.out_strides[4];  // rows follow each other: flush them at once
    for (const LaneBlock& b : blocks_) {
      const int64_t lanes = b.vectors * kLanes<T>, used = std::min(lanes, r_.cout - b.begin);
      S* y = y_ + s.image * r_.out_strides[0] + (s.group * r_.cout + b.begin) * r_.out_strides[1] +
             s.depth * r_.out_strides[2];
      if constexpr (std::is_same_v<T, S>) {
        if (planes_) {
          for (int64_t o = s.begin; o < s.end; ++o) {
            find_lines(s, o, rows);
            row_of_planes(s, b, used, y + o * r_.out_strides[3]);
          }
          continue;
        }
      }
      const bool direct = std::is_same_v<T, S> && r_.out_strides[1] == 1 && used == lanes;
      T* staging =
          direct ? nullptr : scratch<T>(Scratch::staging, (whole ? s.end - s.begin : 1) * r_.out_size[2] * lanes);
      for (int64_t o = s.begin; o < s.end; ++o) {
        find_lines(s, o, rows);
        S* line = y + o * r_.out_strides[3];
        if (direct) {
          if constexpr (std::is_same_v<T, S>) row(s, b, line, r_.out_strides[4]);
          continue;
        }
        T* stage = staging + (whole ? (o - s.begin) * r_.out_size[2] * lanes : 0);
        row(s, b, stage, lanes);
        if (!whole) flush(staging, lanes, line, r_.out_size[2], used);
      }
      if (!direct && whole)
        flush(staging, lanes, y + s.begin * r_.out_strides[3], (s.end - s.begin) * r_.out_size[2], used);
    }
  }

  void flush(const T* staging, int64_t lanes, S* y, int64_t pixels, int64_t used) const {
    copy_matrix<S, T>({staging, lanes, 1}, {y, r_.out_strides[4], r_.out_strides[1]}, pixels, used);
  }

  // The packed input rows that output row o reads, packing those not yet there.
  void find_lines(Strip& s, int64_t o, T* rows) const {
    s.lines.clear();
    for (int64_t kd = 0; kd < c_.kernel[0]; ++kd) {
      const int64_t plane = source(r_, 0, s.depth, kd);
      if (plane < 0) continue;
      for (int64_t kh = 0; kh < c_.kernel[1]; ++kh) {
        const int64_t i = source(r_, 1, o, kh);
        if (i < 0) continue;
        const int64_t position = (kd * c_.kernel[1] + kh) * c_.kernel[2];
        const S* from = x_ + s.image * r_.in_strides[0] + s.group * r_.cin * r_.in_strides[1] +
                        plane * r_.in_strides[2] + i * r_.in_strides[3];
        if constexpr (std::is_same_v<T, S>) {
          if (in_place_) {
            s.lines.push_back({from, position});
            continue;
          }
        }
        const int64_t slot = kd * s.slots + i - s.first_row;
        T* line = rows + slot * columns_.rows.elements();
        if (!s.packed[slot]) {
          s.packed[slot] = 1;
          pack_row<T, S>(columns_.rows, from, r_.in_strides[1], r_.in_strides[4], line);
        }
        s.lines.push_back({line, position});
      }
    }
  }

  int64_t first_lane(const Strip& s, const LaneBlock& b) const { return s.group * padded_lanes<T>(r_.cout) + b.begin; }

  // The taps of a phase of the row whose lines are known; returns the weights from one of a run to the next.
  int64_t find_taps(Strip& s, const LaneBlock& b, const ColumnPhase& phase) const {
    const int64_t lanes = b.vectors * kLanes<T>;
    const T* weights = weights_ + first_lane(s, b) * positions_ * r_.cin;
    s.taps.clear();
    for (const auto& [line, position] : s.lines)
      for (size_t t = 0; t < phase.taps.size(); t += phase.run)
        s.taps.push_back(
            {line + phase.taps[t].offset, weights + (position + phase.taps[t].kernel_column) * r_.cin * lanes});
    return phase.run > 1 ? (phase.taps[1].kernel_column - phase.taps[0].kernel_column) * r_.cin * lanes : 0;
  }

  // One output row of `used` channels of one lane block, lanes along the row.
  void row_of_planes(Strip& s, const LaneBlock& b, int64_t used, T* y) const {
    constexpr int n = kLanes<T>;
    const ColumnPhase& phase = columns_.phases[0];
    const int64_t w_step = find_taps(s, b, phase);
    const Planes<T> p{s.taps.data(), int64_t(s.taps.size()), r_.cin, channels_.pitch, b.vectors * n, phase.run, w_step};
    const T* bias = bias_ + first_lane(s, b);
    for (int64_t pixel = 0; pixel < phase.count; pixel += 2 * n) {
      const int64_t left = std::min<int64_t>(phase.count - pixel, 2 * n);
      int count = 0;
      for (int64_t q = 0; q < used; q += count) {
        const PlaneFn<T> fn = left > n ? plane_tile_for<T, 2>(used - q, count) : plane_tile_for<T, 1>(used - q, count);
        fn(p, pixel, q, bias + q, y + q * r_.out_strides[1] + pixel, r_.out_strides[1], left > n ? left - n : left);
      }
    }
  }

  // One output row of one lane block, pixels y_pitch apart.
  void row(Strip& s, const LaneBlock& b, T* y, int64_t y_pitch) const {
    for (size_t f = 0; f < columns_.phases.size(); ++f) {
      const ColumnPhase& phase = columns_.phases[f];
      const int64_t w_step = find_taps(s, b, phase);
      int64_t done = 0;
      for (const int width : cuts_[b.vectors - 1][f]) {
        tile_fn(width, b.vectors, phase.run)(
            s.taps.data(), int64_t(s.taps.size()), done * columns_.rows.block, channels_, w_step,
            bias_ + first_lane(s, b), y + (phase.start + done * columns_.step) * y_pitch, columns_.step * y_pitch);
        done += width;
      }
    }
  }

  TileFn<T> tile_fn(int width, int vectors, int run) const {
    constexpr int n = kLanes<T>;
    const bool planar = columns_.rows.block == 1;
    if (run == 3) {
      if (vectors == 2) return planar ? tile_for<T, 2, 1, 3>(width) : tile_for<T, 2, n, 3>(width);
      return planar ? tile_for<T, 1, 1, 3>(width) : tile_for<T, 1, n, 3>(width);
    }
    if (vectors == 2) return planar ? tile_for<T, 2, 1, 1>(width) : tile_for<T, 2, n, 1>(width);
    return planar ? tile_for<T, 1, 1, 1>(width) : tile_for<T, 1, n, 1>(width);
  }

  Correlation r_;
  const Conv& c_;
  const S* x_;
  S* y_;
  std::vector<LaneBlock> blocks_;
  int64_t positions_;
  const T* weights_ = nullptr;
  const T* bias_ = nullptr;
  Columns columns_;
  bool planes_ = false, in_place_ = false;
  Channels channels_{};
  std::vector<std::vector<int>> cuts_[2];  // [vectors - 1][phase]
  int64_t strip_rows_ = 1;
};

template <class T, class S>
void correlate(const Correlation& r, const void* x, const void* w, const void* bias, void* y) {
  Correlator<T, S>(r, static_cast<const S*>(x), static_cast<const S*>(w), static_cast<const S*>(bias),
                   static_cast<S*>(y))
      .run();
}

}  // namespace weft::cpu::conv
