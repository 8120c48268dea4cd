#include "kernels/cuda/allocator.h"
#include "kernels/cuda/dnn.h"
#include "kernels/cuda/tiles.cuh"

namespace weft::gpu {
namespace dnn {
namespace {

using Kind = ConvolutionCall::Kind;

// The geometry as kernels read it; counts below 2^31, offsets 64-bit.
struct Geometry {
  int x_size[3], y_size[3], kernel[3], stride[3], padding[3], dilation[3];
  i64 x_strides[5], w_strides[5], y_strides[5];
  int batch, groups, cin, cout;  // channels of one group
  u32 taps, x_area, y_area;      // of a kernel, of one channel
};

// A convolution as a product of matrices, C[row][column] = sum over k of A[row][k] B[k][column], whose elements are
// found by index: `Row` and `Column` are what is known of a row and a column, and `a` and `b` read elements.
//   forward:         rows = positions of y, columns = channels of y, k = (tap, channel of x)
//   data gradient:   rows = positions of x, columns = channels of x, k = (tap, channel of y)
//   weight gradient: rows = channels of y, columns = (tap, channel of x), k = positions of y
struct Position {
  i64 offset;  // of batch, and of the position where it is read directly; -1: outside
  int at[3];
};
WEFT_FN Position position(u32 index, u32 area, const int* size, int batch) {
  Position p;
  const u32 n = index / area;
  u32 rest = index % area;
  p.at[2] = int(rest % u32(size[2]));
  rest /= u32(size[2]);
  p.at[1] = int(rest % u32(size[1]));
  p.at[0] = int(rest / u32(size[1]));
  p.offset = n < u32(batch) ? i64(n) : -1;
  return p;
}
WEFT_FN void tap_of(u32 tap, const int* kernel, int* at) {
  at[2] = int(tap % u32(kernel[2]));
  tap /= u32(kernel[2]);
  at[1] = int(tap % u32(kernel[1]));
  at[0] = int(tap / u32(kernel[1]));
}
// Where tap `t` of the position `y` reads x; -1: in the padding.
WEFT_FN i64 x_offset(const Geometry& g, const int* y, const int* t) {
  i64 offset = 0;
  for (int d = 0; d < 3; ++d) {
    const int at = y[d] * g.stride[d] - g.padding[d] + t[d] * g.dilation[d];
    if (at < 0 || at >= g.x_size[d]) return -1;
    offset += at * g.x_strides[2 + d];
  }
  return offset;
}
// The position of y that tap `t` takes to `x`; -1: none.
WEFT_FN i64 y_offset(const Geometry& g, const int* x, const int* t) {
  i64 offset = 0;
  for (int d = 0; d < 3; ++d) {
    const int scaled = x[d] + g.padding[d] - t[d] * g.dilation[d];
    if (scaled < 0 || scaled % g.stride[d] != 0 || scaled / g.stride[d] >= g.y_size[d]) return -1;
    offset += scaled / g.stride[d] * g.y_strides[2 + d];
  }
  return offset;
}

template <class S>
struct Arguments {
  Geometry g;
  const S *a, *b;
  S* c;
  const S* bias;
  u32 rows, columns, depth;
  u32 row_tiles, column_tiles;
};

template <class S, Kind kKind>
__global__ void __launch_bounds__(kThreads) product(Arguments<S> p) {
  using T = Wide<S>;
  constexpr int n = Tiles<T>::kSide, kTile = Tiles<T>::kTile, kDepth = Tiles<T>::kDepth, kSteps = Tiles<T>::kPerThread;
  WEFT_SHARED(typename Tiles<T>::Chunk, a);
  WEFT_SHARED(typename Tiles<T>::Chunk, b);
  const Geometry& g = p.g;
  const u32 tile = blockIdx.x % (p.row_tiles * p.column_tiles), group = blockIdx.x / (p.row_tiles * p.column_tiles);
  const u32 first_row = tile / p.column_tiles * kTile, first_column = tile % p.column_tiles * kTile;
  const i64 x_group = i64(group) * g.cin * g.x_strides[1], y_group = i64(group) * g.cout * g.y_strides[1];
  const i64 w_group = i64(group) * g.cout * g.w_strides[0];
  // Every thread loads elements of one row and of one column.
  const int line = threadIdx.x % kTile, step = threadIdx.x / kTile;
  const u32 row = first_row + line, column = first_column + line;
  Position at{};
  int tap[3];
  if constexpr (kKind == Kind::forward) at = position(row, g.y_area, g.y_size, g.batch);
  if constexpr (kKind == Kind::data_gradient) at = position(row, g.x_area, g.x_size, g.batch);
  u32 channel = 0;
  if constexpr (kKind == Kind::weight_gradient) {
    tap_of(column % g.taps, g.kernel, tap);
    channel = column / g.taps;
  }
  const auto read_a = [&](u32 k) -> T {
    if (row >= p.rows || k >= p.depth) return T(0);
    if constexpr (kKind == Kind::weight_gradient) {
      const Position y = position(k, g.y_area, g.y_size, g.batch);
      return load<S>(p.a[y_group + y.offset * g.y_strides[0] + i64(row) * g.y_strides[1] + y.at[0] * g.y_strides[2] +
                         y.at[1] * g.y_strides[3] + y.at[2] * g.y_strides[4]]);
    } else {
      int t[3];
      tap_of(k % g.taps, g.kernel, t);
      const i64 c = k / g.taps;
      if constexpr (kKind == Kind::forward) {
        const i64 offset = x_offset(g, at.at, t);
        return offset < 0 ? T(0) : load<S>(p.a[x_group + at.offset * g.x_strides[0] + c * g.x_strides[1] + offset]);
      } else {
        const i64 offset = y_offset(g, at.at, t);
        return offset < 0 ? T(0) : load<S>(p.a[y_group + at.offset * g.y_strides[0] + c * g.y_strides[1] + offset]);
      }
    }
  };
  const auto read_b = [&](u32 k) -> T {
    if (column >= p.columns || k >= p.depth) return T(0);
    if constexpr (kKind == Kind::weight_gradient) {
      const Position y = position(k, g.y_area, g.y_size, g.batch);
      const i64 offset = x_offset(g, y.at, tap);
      return offset < 0 ? T(0)
                        : load<S>(p.b[x_group + y.offset * g.x_strides[0] + i64(channel) * g.x_strides[1] + offset]);
    } else {
      int t[3];
      tap_of(k % g.taps, g.kernel, t);
      const i64 c = k / g.taps, out = kKind == Kind::forward ? i64(column) : c,
                in = kKind == Kind::forward ? c : i64(column);
      return load<S>(p.b[w_group + out * g.w_strides[0] + in * g.w_strides[1] + t[0] * g.w_strides[2] +
                         t[1] * g.w_strides[3] + t[2] * g.w_strides[4]]);
    }
  };
  typename Tiles<T>::Square sums;
  clear<T>(sums);
  for (u32 k = 0; k < p.depth; k += kDepth) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int s = step + kThreads / kTile * i;
      a.v[s][line] = read_a(k + s);
      b.v[s][line] = read_b(k + s);
    }
    __syncthreads();
    multiply<T>(sums, a.v[0], Tiles<T>::kRow, b.v[0], Tiles<T>::kRow, kDepth);
  }
  for (int i = 0; i < n; ++i) {
    const u32 r = first_row + threadIdx.x / 16 * n + i;
    if (r >= p.rows) continue;
    Position to{};
    if constexpr (kKind == Kind::forward) to = position(r, g.y_area, g.y_size, g.batch);
    if constexpr (kKind == Kind::data_gradient) to = position(r, g.x_area, g.x_size, g.batch);
    for (int j = 0; j < n; ++j) {
      const u32 c = first_column + threadIdx.x % 16 * n + j;
      if (c >= p.columns) continue;
      T value = sums[i][j];
      if constexpr (kKind == Kind::weight_gradient) {
        int t[3];
        tap_of(c % g.taps, g.kernel, t);
        p.c[w_group + i64(r) * g.w_strides[0] + i64(c / g.taps) * g.w_strides[1] + t[0] * g.w_strides[2] +
            t[1] * g.w_strides[3] + t[2] * g.w_strides[4]] = store<S>(value);
      } else {
        const i64* strides = kKind == Kind::forward ? g.y_strides : g.x_strides;
        if (p.bias != nullptr) value = value + load<S>(p.bias[group * p.columns + c]);
        p.c[(kKind == Kind::forward ? y_group : x_group) + to.offset * strides[0] + i64(c) * strides[1] +
            to.at[0] * strides[2] + to.at[1] * strides[3] + to.at[2] * strides[4]] = store<S>(value);
      }
    }
  }
}

// Sums of y over batch and space for each channel, in two steps: `splits` runs of positions, then their sums. A block
// takes `kChannels` channels (neighbours in memory) and kThreads / kChannels positions at once.
template <class S, int kChannels>
__global__ void __launch_bounds__(kThreads)
    channel_partials(Geometry g, const S* y, Wide<S>* partials, int channels, i64 positions, i64 run) {
  using T = Wide<S>;
  WEFT_SHARED(T[kThreads], sums);
  const int c = blockIdx.x * kChannels + threadIdx.x % kChannels, lane = threadIdx.x / kChannels;
  const i64 first = blockIdx.y * run, last = first + run < positions ? first + run : positions;
  T sum = T(0);
  if (c < channels)
    for (i64 i = first + lane; i < last; i += kThreads / kChannels) {
      const Position p = position(u32(i), g.y_area, g.y_size, g.batch);
      sum += load<S>(y[p.offset * g.y_strides[0] + c * g.y_strides[1] + p.at[0] * g.y_strides[2] +
                       p.at[1] * g.y_strides[3] + p.at[2] * g.y_strides[4]]);
    }
  sums[threadIdx.x] = sum;
  for (int half = kThreads / kChannels / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) sums[threadIdx.x] += sums[threadIdx.x + half * kChannels];
  }
  if (lane == 0 && c < channels) partials[i64(blockIdx.y) * channels + c] = sums[threadIdx.x];
}
template <class S>
__global__ void __launch_bounds__(kThreads) channel_sums(const Wide<S>* partials, S* out, int channels, int splits) {
  for (i64 c = blockIdx.x * i64(blockDim.x) + threadIdx.x; c < channels; c += i64(gridDim.x) * blockDim.x) {
    Wide<S> sum = Wide<S>(0);
    for (int s = 0; s < splits; ++s) sum += partials[i64(s) * channels + c];
    out[c] = store<S>(sum);
  }
}

// Memory without holes, kCount elements (of one channel, or of neighbouring channels) at a time.
template <class S, int kCount>
__global__ void __launch_bounds__(kThreads)
    add_to_channels(S* to, const S* bias, u32 packs, Divider area, Divider channels, bool channels_last) {
  struct alignas(kCount * sizeof(S)) Elements {
    S v[kCount];
  };
  for (u32 p = blockIdx.x * blockDim.x + threadIdx.x; p < packs; p += gridDim.x * blockDim.x) {
    Elements e = reinterpret_cast<Elements*>(to)[p];
    const u32 place = channels_last ? p * kCount : area.quotient(p * kCount);
    const u32 c = place - channels.quotient(place) * channels.divisor;
#pragma unroll
    for (int k = 0; k < kCount; ++k) e.v[k] = store<S>(load<S>(e.v[k]) + load<S>(bias[channels_last ? c + k : c]));
    reinterpret_cast<Elements*>(to)[p] = e;
  }
}

u32 count(i64 n) {
  WEFT_CHECK(n < (i64{1} << 31), "convolution: {} positions are too many for one kernel; split the batch", n);
  return u32(n);
}

Geometry geometry(const ConvolutionCall& c) {
  Geometry g{};
  for (int d = 0; d < 3; ++d) {
    g.x_size[d] = int(count(c.x_size[d])), g.y_size[d] = int(count(c.y_size[d]));
    g.kernel[d] = int(count(c.kernel[d])), g.stride[d] = int(count(c.stride[d]));
    g.padding[d] = int(count(c.padding[d])), g.dilation[d] = int(count(c.dilation[d]));
  }
  for (int d = 0; d < 5; ++d)
    g.x_strides[d] = c.x_strides[d], g.w_strides[d] = c.w_strides[d], g.y_strides[d] = c.y_strides[d];
  g.batch = int(count(c.batch)), g.groups = int(count(c.groups));
  g.cin = int(count(c.cin / c.groups)), g.cout = int(count(c.cout / c.groups));
  g.taps = count(c.kernel[0] * c.kernel[1] * c.kernel[2]);
  g.x_area = count(c.x_size[0] * c.x_size[1] * c.x_size[2]);
  g.y_area = count(c.y_size[0] * c.y_size[1] * c.y_size[2]);
  return g;
}

template <class S>
void sum_channels(const ConvolutionCall& c) {
  if (c.cout == 0) return;
  const Geometry g = geometry(c);
  const i64 positions = c.batch * g.y_area;
  const bool neighbours = c.y_strides[1] == 1 && c.cout > 1;
  const i64 across = neighbours ? (c.cout + 31) / 32 : c.cout;
  i64 splits = 1024 / across;  // a function of the shape alone
  if (splits > positions / 1024) splits = positions / 1024;
  if (splits < 1) splits = 1;
  const i64 run = (positions + splits - 1) / splits;
  Workspace partials(size_t(splits * c.cout) * sizeof(Wide<S>));
  const auto sum = [&](auto kernel) {
    launch(kernel, dim3(unsigned(across), unsigned(splits)), kThreads, 0, current_stream(), g,
           static_cast<const S*>(c.y), partials.as<Wide<S>>(), int(count(c.cout)), positions, run);
  };
  if (neighbours)
    sum(channel_partials<S, 32>);
  else
    sum(channel_partials<S, 1>);
  launch(channel_sums<S>, grid_for(c.cout), kThreads, 0, current_stream(), partials.as<Wide<S>>(),
         static_cast<S*>(c.bias), int(c.cout), int(splits));
}

template <class S>
void add_bias(const ConvolutionCall& c) {
  if (c.kind == Kind::weight_gradient) return sum_channels<S>(c);
  const bool forward = c.kind == Kind::forward;
  const Geometry g = geometry(c);
  const i64 channels = forward ? c.cout : c.cin, area = forward ? g.y_area : g.x_area, n = c.batch * channels * area;
  S* to = static_cast<S*>(forward ? c.y : c.x);
  const bool channels_last = channels > 1 && (forward ? c.y_strides : c.x_strides)[1] == 1;
  constexpr int kCount = Pack<S>::kCount;
  const auto add = [&](auto kernel, int count_at_once) {
    launch(kernel, grid_for(n / count_at_once), kThreads, 0, current_stream(), to, static_cast<const S*>(c.bias),
           count(n) / u32(count_at_once), Divider(u32(area)), Divider(u32(channels)), channels_last);
  };
  if (n == 0) return;
  if ((channels_last ? channels : area) % kCount == 0 && aligned16(to))
    add(add_to_channels<S, kCount>, kCount);
  else
    add(add_to_channels<S, 1>, 1);
}

template <class S, Kind kKind>
void run(const ConvolutionCall& c) {
  constexpr int kTile = Tiles<Wide<S>>::kTile;
  Arguments<S> p{};
  p.g = geometry(c);
  const S *x = static_cast<const S*>(c.x), *w = static_cast<const S*>(c.w), *y = static_cast<const S*>(c.y);
  p.bias = static_cast<const S*>(c.bias);
  if constexpr (kKind == Kind::forward) {
    p.a = x, p.b = w, p.c = static_cast<S*>(c.y);
    p.rows = count(c.batch * p.g.y_area), p.columns = u32(p.g.cout), p.depth = count(i64(p.g.cin) * p.g.taps);
  } else if constexpr (kKind == Kind::data_gradient) {
    p.a = y, p.b = w, p.c = static_cast<S*>(c.x);
    p.rows = count(c.batch * p.g.x_area), p.columns = u32(p.g.cin), p.depth = count(i64(p.g.cout) * p.g.taps);
  } else {
    p.a = y, p.b = x, p.c = static_cast<S*>(c.w);
    p.rows = u32(p.g.cout), p.columns = count(i64(p.g.cin) * p.g.taps), p.depth = count(c.batch * p.g.y_area);
    if (c.bias != nullptr) sum_channels<S>(c);
  }
  if (p.rows == 0 || p.columns == 0) return;
  p.row_tiles = (p.rows + kTile - 1) / kTile, p.column_tiles = (p.columns + kTile - 1) / kTile;
  launch(product<S, kKind>, dim3(count(i64(p.row_tiles) * p.column_tiles * c.groups)), kThreads, 0, current_stream(),
         p);
}

template <class S>
void run(const ConvolutionCall& c) {
  switch (c.kind) {
    case Kind::forward:
      return run<S, Kind::forward>(c);
    case Kind::data_gradient:
      return run<S, Kind::data_gradient>(c);
    default:
      return run<S, Kind::weight_gradient>(c);
  }
}

}  // namespace

void convolution_kernels(const ConvolutionCall& c) {
  if (with_floating(c.dtype, [&](auto s) { run<typename decltype(s)::type>(c); })) return;
  if (c.dtype == DType::i64 && c.kind != Kind::weight_gradient) return run<int64_t>(c);
  WEFT_FAIL("convolution: no {} for {}; convert the tensors to a float dtype",
            c.kind == Kind::weight_gradient ? "weight gradient" : "kernel", c.dtype);
}

void add_bias(const ConvolutionCall& c) {
  if (c.bias == nullptr) return;
  with_floating(c.dtype, [&](auto s) { add_bias<typename decltype(s)::type>(c); });
}

}  // namespace dnn
}  // namespace weft::gpu
