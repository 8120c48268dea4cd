#include "core/ops/batch_norm.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.cuh"

// Normalisation of channels. Two sums per channel go over slices of its values: a thread sums some of them in the
// compute type, everything beyond that in f64 in an order that depends on the shape and the layout alone.
namespace weft::gpu {
namespace {

// A tensor [batch, channels, area], or [batch * area, channels] (last) where area is 1 here.
struct Channels {
  i64 batch, channels, area;
  bool last;
  i64 count;  // values of a channel
  Channels(const Tensor& x, MemoryFormat format) : batch(x.sizes()[0]), channels(x.sizes()[1]), area(1) {
    for (int d = 2; d < x.dim(); ++d) area *= x.sizes()[d];
    count = batch * area;
    last = format != MemoryFormat::contiguous || area == 1;
    if (last) batch = count, area = 1;
  }
};

// A [C] tensor that may be missing.
struct Vector {
  void* data;
  i64 stride;
  DType dtype;
  Vector(const Tensor& t)
      : data(t.defined() ? t.impl()->data : nullptr),
        stride(t.defined() ? t.strides()[0] : 0),
        dtype(t.defined() ? t.dtype() : DType::f64) {}
  __device__ __forceinline__ double get(i64 c, double missing) const {
    return data ? load_as<double>(data, c * stride, dtype) : missing;
  }
  __device__ __forceinline__ void set(i64 c, double value) const {
    if (data == nullptr) return;
    if (dtype == DType::f64)
      store_as(data, c * stride, dtype, value);
    else
      store_as(data, c * stride, dtype, float(value));
  }
};

// ---- sums: of (x - pivot, its square), or of (dy, dy (x - mean))

struct SumArguments {
  const void *x, *dy;
  Vector mean;
  i64 batch, channels, area, slice;  // slice: samples (rows where last) of a slice; of a channel's area in `parts`
  i64 parts, part;
  double* out;  // [slices, 2, channels]
};

// Near the values of a channel: its first one.
template <class S>
__device__ __forceinline__ Wide<S> pivot_of(const void* x, i64 area, i64 channel) {
  const Wide<S> first = load(static_cast<const S*>(x)[channel * area]);
  return first - first == Wide<S>(0) ? first : Wide<S>(0);
}
template <bool Gradient, class S>
struct Pair {
  Wide<S> centre, a = 0, b = 0;
  __device__ __forceinline__ Pair(const SumArguments& s, i64 channel)
      : centre(Gradient ? Wide<S>(s.mean.get(channel, 0)) : pivot_of<S>(s.x, s.area, channel)) {}
  __device__ __forceinline__ void add(S x, S dy) {
    const Wide<S> d = load(x) - centre;
    if constexpr (Gradient) {
      a += load(dy);
      b += load(dy) * d;
    } else {
      a += d;
      b += d * d;
    }
  }
};

// grid: (channels, slices); a slice has `slice` samples, or (parts > 1) a part of one sample's plane.
template <bool Gradient, class S, bool Packs>
__global__ void __launch_bounds__(kThreads) plane_sums(SumArguments a) {
  constexpr int kCount = Packs ? Pack<S>::kCount : 1;
  WEFT_SHARED(double[2 * kThreads / 32], shared);
  const i64 channel = blockIdx.x;
  i64 sample = i64(blockIdx.y) / a.parts * a.slice, begin = i64(blockIdx.y) % a.parts * a.part;
  const i64 samples = a.batch - sample < a.slice ? a.batch - sample : a.slice,
            length = a.area - begin < a.part ? a.area - begin : a.part, packs = length / kCount;
  Pair<Gradient, S> sums(a, channel);
  const S *x = static_cast<const S*>(a.x), *dy = static_cast<const S*>(a.dy);
  i64 plane = threadIdx.x / packs, at = threadIdx.x % packs;
  const i64 step_planes = kThreads / packs, step = kThreads % packs;
  while (plane < samples) {
    const i64 from = ((sample + plane) * a.channels + channel) * a.area + begin + at * kCount;
    const auto few = *reinterpret_cast<const Few<S, kCount>*>(x + from);
    Few<S, kCount> of_dy = few;
    if constexpr (Gradient) of_dy = *reinterpret_cast<const Few<S, kCount>*>(dy + from);
#pragma unroll
    for (int k = 0; k < kCount; ++k) sums.add(few.v[k], of_dy.v[k]);
    plane += step_planes;
    at += step;
    if (at >= packs) at -= packs, ++plane;
  }
  const double first = warp_tree<reduction::Sum<double>>(double(sums.a)),
               second = warp_tree<reduction::Sum<double>>(double(sums.b));
  if (threadIdx.x % 32 == 0) {
    shared[threadIdx.x / 32] = first;
    shared[kThreads / 32 + threadIdx.x / 32] = second;
  }
  __syncthreads();
  if (threadIdx.x > 1) return;
  double total = 0;
  for (int w = 0; w < kThreads / 32; ++w) total += shared[threadIdx.x * (kThreads / 32) + w];
  a.out[(i64(blockIdx.y) * 2 + threadIdx.x) * a.channels + channel] = total;
}

// Channels last. grid: (groups of 32 channels, slices); 8 rows at a time.
template <bool Gradient, class S>
__global__ void __launch_bounds__(kThreads) column_sums(SumArguments a) {
  WEFT_SHARED(double[2 * kThreads], shared);
  const i64 channel = i64(blockIdx.x) * 32 + threadIdx.x % 32, begin = i64(blockIdx.y) * a.slice,
            end = begin + a.slice < a.batch ? begin + a.slice : a.batch;
  const S *x = static_cast<const S*>(a.x), *dy = static_cast<const S*>(a.dy);
  Pair<Gradient, S> sums(a, channel < a.channels ? channel : 0);
  if (channel < a.channels) {
#pragma unroll 4
    for (i64 r = begin + threadIdx.x / 32; r < end; r += kThreads / 32) {
      const S value = x[r * a.channels + channel];
      sums.add(value, Gradient ? dy[r * a.channels + channel] : value);
    }
  }
  shared[threadIdx.x] = double(sums.a);
  shared[kThreads + threadIdx.x] = double(sums.b);
  __syncthreads();
  if (threadIdx.x >= 64) return;
  const int which = threadIdx.x / 32;
  if (channel >= a.channels) return;
  double total = 0;
  for (int w = 0; w < kThreads / 32; ++w) total += shared[which * kThreads + w * 32 + threadIdx.x % 32];
  a.out[(i64(blockIdx.y) * 2 + which) * a.channels + channel] = total;
}

// The sums of all slices: out [2, channels] of a warp per channel.
__device__ __forceinline__ double slice_total(const double* partial, i64 slices, i64 channels, int which, i64 channel) {
  double total = 0;
  for (i64 s = threadIdx.x % 32; s < slices; s += 32) total += partial[(s * 2 + which) * channels + channel];
  return warp_tree<reduction::Sum<double>>(total);
}

/// Sums over slices; the number of slices. `held` keeps them.
template <class S>
struct ChannelSums {
  Tensor held;
  SumArguments a;
  i64 slices = 0;
  ChannelSums(const Channels& c, const Tensor& x, const Tensor& dy, const Tensor& mean)
      : a{x.impl()->data,
          dy.defined() ? dy.impl()->data : nullptr,
          Vector(mean),
          c.batch,
          c.channels,
          c.area,
          1,
          1,
          c.area,
          nullptr} {
    constexpr i64 kBlocks = 2112, kEach = 8192;  // thread blocks that fill a device; values that are worth one
    const bool gradient = dy.defined();
    if (c.last) {
      const i64 groups = (c.channels + 31) / 32;
      a.slice = std::max<i64>(std::max<i64>(32, (c.batch * groups + kBlocks - 1) / kBlocks), (c.batch + 65534) / 65535);
      slices = (c.batch + a.slice - 1) / a.slice;
    } else {
      const i64 each = std::max(kEach, c.batch * c.channels * c.area / kBlocks);
      if (c.area > 2 * each) {
        a.part = (each + 63) / 64 * 64;
        a.parts = (c.area + a.part - 1) / a.part;
      } else {
        a.slice = std::min(c.batch, std::max<i64>(1, each / c.area));
      }
      if (const i64 most = 65535 / a.parts; (c.batch + a.slice - 1) / a.slice > most)
        a.slice = (c.batch + most - 1) / most;
      slices = (c.batch + a.slice - 1) / a.slice * a.parts;
    }
    held = detail::allocate({slices * 2 * c.channels}, DType::f64, x.device());
    a.out = static_cast<double*>(held.impl()->data);
    if (c.last) {
      const dim3 grid(unsigned((c.channels + 31) / 32), unsigned(slices));
      launch(gradient ? column_sums<true, S> : column_sums<false, S>, grid, kThreads, 0, current_stream(), a);
      return;
    }
    const dim3 grid(unsigned(c.channels), unsigned(slices));
    const bool packs = c.area % Pack<S>::kCount == 0 && aligned16(a.x) && (!gradient || aligned16(a.dy));
    if (packs)
      launch(gradient ? plane_sums<true, S, true> : plane_sums<false, S, true>, grid, kThreads, 0, current_stream(), a);
    else
      launch(gradient ? plane_sums<true, S, false> : plane_sums<false, S, false>, grid, kThreads, 0, current_stream(),
             a);
  }
};

// ---- per channel

template <class T>
struct ChannelArguments {
  const double* partial;  // null: fixed statistics
  i64 slices, channels;
  double count, momentum, eps;
  const void* x;  // for the pivot
  i64 area;
  Vector weight, bias, running_mean, running_var, mean, rstd, dweight, dbias;
  T* constants;  // [2 or 4, channels]
  bool training;
};

template <class S>
__global__ void __launch_bounds__(kThreads) finish_forward(ChannelArguments<Wide<S>> a) {
  using T = Wide<S>;
  const i64 c = i64(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (c >= a.channels) return;
  double mean = a.running_mean.get(c, 0), var = a.running_var.get(c, 1);
  if (a.training) {
    const double sum = slice_total(a.partial, a.slices, a.channels, 0, c),
                 squares = slice_total(a.partial, a.slices, a.channels, 1, c);
    const double d = sum / a.count, old_mean = mean, old_var = a.running_var.get(c, 0);
    mean = double(pivot_of<S>(a.x, a.area, c)) + d;
    var = (squares - sum * d) / a.count;
    if (var < 0) var = 0;
    if (threadIdx.x % 32 == 0) {
      a.running_mean.set(c, (1 - a.momentum) * old_mean + a.momentum * mean);
      a.running_var.set(c, (1 - a.momentum) * old_var + a.momentum * var * (a.count / (a.count - 1)));
    }
  }
  if (threadIdx.x % 32 != 0) return;
  const double rstd = 1 / math::sqrt(var + a.eps), scale = a.weight.get(c, 1) * rstd;
  a.mean.set(c, mean);
  a.rstd.set(c, rstd);
  a.constants[c] = T(scale);
  a.constants[a.channels + c] = T(a.bias.get(c, 0) - mean * scale);
}

// With h = (x - mean) rstd, n values per channel: db = sum dy, dw = sum dy h, dx = w rstd (dy - db / n - h dw / n);
// with fixed statistics the last two terms are absent.
template <class T>
__global__ void __launch_bounds__(kThreads) finish_backward(ChannelArguments<T> a) {
  const i64 c = i64(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (c >= a.channels) return;
  double sum = 0, dot = 0;
  if (a.partial) {
    sum = slice_total(a.partial, a.slices, a.channels, 0, c);
    dot = slice_total(a.partial, a.slices, a.channels, 1, c);
  }
  if (threadIdx.x % 32 != 0) return;
  const double mean = a.mean.get(c, 0), rstd = a.rstd.get(c, 1), scale = a.weight.get(c, 1) * rstd;
  a.dweight.set(c, dot * rstd);
  a.dbias.set(c, sum);
  if (a.training) {
    a.constants[c] = T(sum / a.count);
    a.constants[a.channels + c] = T(scale);
    a.constants[2 * a.channels + c] = T(mean);
    a.constants[3 * a.channels + c] = T(-scale * dot * rstd * rstd / a.count);
  } else {
    a.constants[c] = T(scale);
    a.constants[a.channels + c] = T(0);
  }
}

// ---- element by element

template <class T>
struct MapArguments {
  const void *x, *x2;
  void* y;
  const T* constants;
  i64 channels;
  Divider by_area, by_channels;
  u32 n;
};

template <class T>
WEFT_FN T map_value(const T* k, i64 channels, u32 c, T x) {
  return math::fma(x, k[c], k[channels + c]);
}
template <class T>
WEFT_FN T map_value(const T* k, i64 channels, u32 c, T g, T x) {
  return math::fma(x - k[2 * channels + c], k[3 * channels + c], (g - k[c]) * k[channels + c]);
}

// Same: neighbours of a pack share their channel.
template <class S, bool Two, int Width, bool Same>
__global__ void __launch_bounds__(kThreads) map_channels(MapArguments<Wide<S>> a) {
  const u32 packs = a.n / Width;
  const S *x = static_cast<const S*>(a.x), *x2 = static_cast<const S*>(a.x2);
  for (u32 p = blockIdx.x * blockDim.x + threadIdx.x; p < packs; p += gridDim.x * blockDim.x) {
    const u32 i = p * Width;
    u32 plane = a.by_area.quotient(i), inside = i - plane * a.by_area.divisor,
        c = plane - a.by_channels.quotient(plane) * a.by_channels.divisor;
    const auto few = *reinterpret_cast<const Few<S, Width>*>(x + i);
    Few<S, Width> other = few, out;
    if constexpr (Two) other = *reinterpret_cast<const Few<S, Width>*>(x2 + i);
#pragma unroll
    for (int k = 0; k < Width; ++k) {
      if constexpr (Two)
        out.v[k] = store<S>(map_value(a.constants, a.channels, c, load(few.v[k]), load(other.v[k])));
      else
        out.v[k] = store<S>(map_value(a.constants, a.channels, c, load(few.v[k])));
      if constexpr (!Same)
        if (++inside == a.by_area.divisor) {
          inside = 0;
          if (++c == a.by_channels.divisor) c = 0;
        }
    }
    *reinterpret_cast<Few<S, Width>*>(static_cast<S*>(a.y) + i) = out;
  }
}

template <class S, bool Two>
void map(const Channels& c, const void* x, const void* x2, void* y, const Wide<S>* constants) {
  MapArguments<Wide<S>> a{x, x2, y, constants, c.channels, Divider(u32(c.area)), Divider(u32(c.channels)), 0};
  // Whole samples, below 2^31 elements at a time.
  const i64 sample = c.channels * c.area;
  WEFT_CHECK(sample < (i64(1) << 31), "batch_norm: samples of {} elements are too large for a device", sample);
  constexpr i64 kWidth = Pack<S>::kCount;
  const i64 batches = std::max<i64>(1, ((i64(1) << 31) - 1) / sample / kWidth * kWidth);
  for (i64 first = 0; first < c.batch; first += batches) {
    const i64 offset = first * sample * i64(sizeof(S));
    a.x = static_cast<const char*>(x) + offset;
    a.x2 = x2 ? static_cast<const char*>(x2) + offset : nullptr;
    a.y = static_cast<char*>(y) + offset;
    a.n = u32(std::min(batches, c.batch - first) * sample);
    const bool packs = a.n % kWidth == 0 && aligned16(a.x) && aligned16(a.y) && (!Two || aligned16(a.x2));
    if (packs && c.area % kWidth == 0)
      launch(map_channels<S, Two, kWidth, true>, grid_for(a.n / kWidth), kThreads, 0, current_stream(), a);
    else if (packs)
      launch(map_channels<S, Two, kWidth, false>, grid_for(a.n / kWidth), kThreads, 0, current_stream(), a);
    else
      launch(map_channels<S, Two, 1, true>, grid_for(a.n), kThreads, 0, current_stream(), a);
  }
}

Tensor laid_out(const Tensor& gradient, DType dtype, MemoryFormat format) {
  NoGrad guard;
  const Tensor t = gradient.detach().to(dtype);
  return t.is_contiguous(format) ? t : t.contiguous(format);
}
dim3 channel_grid(i64 channels) { return dim3(unsigned((channels + kThreads / 32 - 1) / (kThreads / 32))); }

template <class S>
void forward(const OpCall& call) {
  using T = Wide<S>;
  const auto& attrs = call.as<BatchNormAttrs>();
  const Tensor& x = call.in[0];
  const Channels c(x, attrs.format);
  const Workspace constants(size_t(2 * c.channels) * sizeof(T));
  Tensor partial;
  i64 slices = 0;
  if (attrs.training) {
    ChannelSums<S> sums(c, x, Tensor(), Tensor());
    partial = sums.held;
    slices = sums.slices;
  }
  const ChannelArguments<T> a{partial.defined() ? static_cast<const double*>(partial.impl()->data) : nullptr,
                              slices,
                              c.channels,
                              double(c.count),
                              attrs.momentum,
                              attrs.eps,
                              x.impl()->data,
                              c.area,
                              Vector(call.in[1]),
                              Vector(call.in[2]),
                              Vector(call.in[3]),
                              Vector(call.in[4]),
                              Vector(call.out[1]),
                              Vector(call.out[2]),
                              Vector(Tensor()),
                              Vector(Tensor()),
                              constants.as<T>(),
                              attrs.training};
  launch(finish_forward<S>, channel_grid(c.channels), kThreads, 0, current_stream(), a);
  map<S, false>(c, x.impl()->data, nullptr, call.out[0].impl()->data, constants.as<T>());
}

template <class S>
void backward(const OpCall& call) {
  using T = Wide<S>;
  const auto& attrs = call.as<BatchNormAttrs>();
  const Tensor& x = call.in[1];
  const Tensor dy = laid_out(call.in[0], x.dtype(), attrs.format);
  const Channels c(x, attrs.format);
  const Workspace constants(size_t(4 * c.channels) * sizeof(T));
  Tensor partial;
  i64 slices = 0;
  if (attrs.training || call.out[1].defined() || call.out[2].defined()) {
    ChannelSums<S> sums(c, x, dy, call.in[3]);
    partial = sums.held;
    slices = sums.slices;
  }
  const ChannelArguments<T> a{partial.defined() ? static_cast<const double*>(partial.impl()->data) : nullptr,
                              slices,
                              c.channels,
                              double(c.count),
                              attrs.momentum,
                              attrs.eps,
                              x.impl()->data,
                              c.area,
                              Vector(call.in[2]),
                              Vector(Tensor()),
                              Vector(Tensor()),
                              Vector(Tensor()),
                              Vector(call.in[3]),
                              Vector(call.in[4]),
                              Vector(call.out[1]),
                              Vector(call.out[2]),
                              constants.as<T>(),
                              attrs.training};
  launch(finish_backward<T>, channel_grid(c.channels), kThreads, 0, current_stream(), a);
  if (!call.out[0].defined()) return;
  if (attrs.training)
    map<S, true>(c, dy.impl()->data, x.impl()->data, call.out[0].impl()->data, constants.as<T>());
  else
    map<S, false>(c, dy.impl()->data, nullptr, call.out[0].impl()->data, constants.as<T>());
}

}  // namespace

void batch_norm(const OpCall& c) {
  if (c.in[0].numel() == 0) return;
  if (!with_floating(c.in[0].dtype(), [&](auto s) { forward<typename decltype(s)::type>(c); }))
    WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, c.in[0].dtype());
}
void batch_norm_backward(const OpCall& c) {
  if (!with_floating(c.in[1].dtype(), [&](auto s) { backward<typename decltype(s)::type>(c); }))
    WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, c.in[1].dtype());
}

}  // namespace weft::gpu
