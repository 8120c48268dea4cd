#pragma once
// The inner loops of convolution: register-blocked tiles over packed rows.
#include <array>
#include <cstdint>

#include "kernels/cpu/hold.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu::conv {

/// One kernel position of one output row: its first input element and its weights [channel][lanes].
template <class T>
struct Tap {
  const T* x;
  const T* w;
};

/// Input channels lie in `blocks` blocks, `pitch` elements apart; inside a block as [pixel][channels of the block].
struct Channels {
  int64_t blocks, pitch;
};

template <class T>
using TileFn = void (*)(const Tap<T>* taps, int64_t n_taps, int64_t x_offset, Channels channels, int64_t w_step,
                        const T* bias, T* y, int64_t y_pitch);

/// Q neighbouring output pixels x NV vectors of output channels: y[q] = bias + sum over taps and channels of x * w.
/// With KW > 1 a tap stands for KW neighbouring ones, a pixel and w_step weights apart: every x is read once for all.
template <class T, int Q, int NV, int CB, int KW>
void tile(const Tap<T>* taps, int64_t n_taps, int64_t x_offset, Channels channels, int64_t w_step, const T* bias, T* y,
          int64_t y_pitch) {
  constexpr int n = kLanes<T>;
  Vec<T> sum[Q][NV];
  for (int v = 0; v < NV; ++v) {
    const Vec<T> b = load(bias + v * n);
    for (int q = 0; q < Q; ++q) sum[q][v] = b;
  }
  for (int64_t t = 0; t < n_taps; ++t) {
    const T* x = taps[t].x + x_offset;
    const T* w = taps[t].w;
    for (int64_t block = 0; block < channels.blocks; ++block, x += channels.pitch) {
      constexpr int kUnroll = CB >= 4 ? 4 / (KW > 1 ? 2 : 1) : 1;
      for (int c = 0; c < CB; c += kUnroll) {
#pragma GCC unroll 4
        for (int u = 0; u < kUnroll; ++u) {
          Vec<T> weight[KW][NV];
#pragma GCC unroll 4
          for (int k = 0; k < KW; ++k)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) {
              weight[k][v] = load(w + k * w_step + (u * NV + v) * n);
              if constexpr (NV == 2 || Q <= 4) hold(weight[k][v]);
            }
#pragma GCC unroll 32
          for (int p = 0; p < Q + KW - 1; ++p) {
            const Vec<T> value = splat(x[p * CB + c + u]);
#pragma GCC unroll 4
            for (int k = 0; k < KW; ++k)
#pragma GCC unroll 4
              for (int v = 0; v < NV; ++v)
                if (p >= k && p - k < Q) sum[p - k][v] = fma<T>(value, weight[k][v], sum[p - k][v]);
          }
        }
        w += kUnroll * NV * n;
      }
    }
  }
  for (int q = 0; q < Q; ++q)
    for (int v = 0; v < NV; ++v) store(y + q * y_pitch + v * n, sum[q][v]);
}

/// Widths a row can be cut into, widest first; one register each holds the weights and the broadcast.
inline constexpr std::array<int, 8> kWidths = {16, 14, 12, 8, 7, 4, 2, 1};
template <class T, int NV>
inline constexpr int kMaxWidth = kRegisters == 32 ? (NV == 1 ? 16 : 14) : (NV == 1 ? 8 : 4);

/// The tile function for a width of kWidths that fits the registers.
template <class T, int NV, int CB, int KW>
TileFn<T> tile_for(int width) {
  constexpr int top = kMaxWidth<T, NV>;
  switch (width) {
    case 16:
      return tile<T, (top < 16 ? 1 : 16), NV, CB, KW>;
    case 14:
      return tile<T, (top < 14 ? 1 : 14), NV, CB, KW>;
    case 12:
      return tile<T, (top < 12 ? 1 : 12), NV, CB, KW>;
    case 8:
      return tile<T, (top < 8 ? 1 : 8), NV, CB, KW>;
    case 7:
      return tile<T, (top < 7 ? 1 : 7), NV, CB, KW>;
    case 4:
      return tile<T, 4, NV, CB, KW>;
    case 2:
      return tile<T, 2, NV, CB, KW>;
    default:
      return tile<T, 1, NV, CB, KW>;
  }
}

/// What a tile of planes reads: `channels` rows of pixels, `pitch` apart; weights [channel][lanes]. A tap stands for
/// `run` neighbouring ones, a pixel and w_step weights apart.
template <class T>
struct Planes {
  const Tap<T>* taps;
  int64_t n_taps, channels, pitch, lanes;
  int run;
  int64_t w_step;
};

template <class T>
using PlaneFn = void (*)(const Planes<T>& p, int64_t x_offset, int64_t w_offset, const T* bias, T* y, int64_t y_channel,
                         int64_t last);

/// The tile for outputs of contiguous pixels: Q output channels x NV vectors of pixels, of the last vector `last`
/// lanes. The sums are those of tile(), in the same order.
template <class T, int Q, int NV>
void plane_tile(const Planes<T>& p, int64_t x_offset, int64_t w_offset, const T* bias, T* y, int64_t y_channel,
                int64_t last) {
  constexpr int n = kLanes<T>;
  Vec<T> sum[Q][NV];
#pragma GCC unroll 16
  for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sum[q][v] = splat(bias[q]);
  for (int64_t t = 0; t < p.n_taps; ++t) {
    const T* x = p.taps[t].x + x_offset;
    const T* w = p.taps[t].w + w_offset;
    for (int64_t c = 0; c < p.channels; ++c, x += p.pitch, w += p.lanes)
      for (int k = 0; k < p.run; ++k) {
        Vec<T> value[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV - 1; ++v) value[v] = load(x + k + v * n);
        value[NV - 1] = load_first(x + k + (NV - 1) * n, last);
        if constexpr (NV == 2)
          for (int v = 0; v < NV; ++v) hold(value[v]);
#pragma GCC unroll 16
        for (int q = 0; q < Q; ++q) {
          const Vec<T> weight = splat(w[k * p.w_step + q]);
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) sum[q][v] = fma<T>(value[v], weight, sum[q][v]);
        }
      }
  }
#pragma GCC unroll 16
  for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store_first(y + q * y_channel + v * n, sum[q][v], v == NV - 1 ? last : n);
}

inline constexpr int kPlaneChannels = kRegisters == 32 ? 12 : 4;

/// The plane tile of the most channels that fit `left`; their number in `channels`.
template <class T, int NV>
PlaneFn<T> plane_tile_for(int64_t left, int& channels) {
  channels = left >= kPlaneChannels ? kPlaneChannels : left >= 8 && kPlaneChannels > 8 ? 8 : left >= 4 ? 4 : 1;
  if (channels == kPlaneChannels) return plane_tile<T, kPlaneChannels, NV>;
  if (channels == 8) return plane_tile < T, kPlaneChannels < 8 ? 1 : 8, NV > ;
  if (channels == 4) return plane_tile<T, 4, NV>;
  return plane_tile<T, 1, NV>;
}

/// A block of pixels seen by the weight gradient; distances in elements.
struct Pixels {
  int64_t rows, cols;
  int64_t x_row, x_col, g_row, g_col;  // one output pixel down, one to the right
  int64_t x_tap;                       // one kernel row down
};

template <class T>
using OuterFn = void (*)(const Pixels& p, const T* x, const T* g, T* dw, int64_t channel_pitch, int64_t tap_pitch);

/// dw[r][q] += sum over pixels of x[pixel of kernel row r][q] * g[pixel], NV vectors of output channels.
template <class T, int Q, int NV, int R>
void outer(const Pixels& p, const T* x, const T* g, T* dw, int64_t channel_pitch, int64_t tap_pitch) {
  constexpr int n = kLanes<T>;
  Vec<T> sum[R][Q][NV] = {};
  for (int64_t row = 0; row < p.rows; ++row) {
    const T* a = x + row * p.x_row;
    const T* b = g + row * p.g_row;
    for (int64_t col = 0; col < p.cols; ++col, a += p.x_col, b += p.g_col) {
      Vec<T> grad[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        grad[v] = load(b + v * n);
        hold(grad[v]);
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const T* ar = a + r * p.x_tap;
#pragma GCC unroll 16
        for (int q = 0; q < Q; ++q) {
          const Vec<T> value = splat(ar[q]);
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) sum[r][q][v] = fma<T>(value, grad[v], sum[r][q][v]);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < NV; ++v) {
        T* d = dw + r * tap_pitch + q * channel_pitch + v * n;
        store(d, load(d) + sum[r][q][v]);
      }
}

}  // namespace weft::cpu::conv
