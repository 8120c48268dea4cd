#include "core/ops/pool.h"

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/kernels.h"

// Pooling in any layout: a thread makes one element of the result, or 16 bytes of neighbouring channels where those lie
// next to each other. The passes backwards gather: a thread adds what the windows that hold its element send, in the
// order in which the host adds.
namespace weft::gpu {
namespace {

/// Storage dtypes are computed in float (f32, bf16, f16), double, or int64_t.
template <class S>
using Compute = std::conditional_t<std::is_integral_v<S>, i64, Wide<S>>;

/// One dimension's windows.
struct Axis {
  int size, outputs, kernel, stride, padding, dilation;  // of the input, of the output; kernel 0: adaptive

  /// The window of output o: begin, begin + dilation, ... below end, inside the input.
  WEFT_FN void window(int o, int& begin, int& end) const {
    if (kernel == 0) {
      begin = int(i64(o) * size / outputs);
      end = int((i64(o + 1) * size + outputs - 1) / outputs);
      return;
    }
    begin = o * stride - padding;
    end = begin + (kernel - 1) * dilation + 1;
    if (begin < 0) begin += (-begin + dilation - 1) / dilation * dilation;
    if (end > size) end = size;
  }
  /// The window's positions, with padding.
  WEFT_FN i64 padded(int o) const {
    if (kernel == 0) return (i64(o + 1) * size + outputs - 1) / outputs - i64(o) * size / outputs;
    const int begin = o * stride - padding, end = begin + (kernel - 1) * dilation + 1;
    return (end < size + padding ? end : size + padding) - begin;
  }
  /// The outputs, from `first` to before `end`, whose windows may hold input i.
  WEFT_FN void holders(int i, int& first, int& last) const {
    if (kernel == 0) {
      first = int(i64(i) * outputs / size);
      last = int((i64(i + 1) * outputs + size - 1) / size);
    } else {
      const int reach = i + padding - (kernel - 1) * dilation;
      first = reach <= 0 ? 0 : (reach + stride - 1) / stride;
      last = (i + padding) / stride + 1;
    }
    if (last > outputs) last = outputs;
  }
};

struct PoolArguments {
  const void* in;
  void* out;
  int64_t* index;  // written by the maximum, else read
  Axis axis[3];
  i64 x[5], y[5], places[5];  // strides of input, output and index of the pool: batch, channel, D, H, W
  Divider extents[5];         // of the result in memory order: N C D H W, or (channels_last) N D H W C
  u32 n;                      // threads
  bool channels_last, count_include_pad;
  i64 divisor_override;
};

/// N, C, D, H and W of thread e's element of the result.
template <int lanes>
WEFT_FN void locate(const PoolArguments& a, u32 e, int* at) {
  u32 rest = e;
#pragma unroll
  for (int d = 4; d >= 0; --d) {
    const u32 quotient = a.extents[d].quotient(rest), index = rest - quotient * a.extents[d].divisor;
    if (a.channels_last)
      at[d == 4 ? 1 : d == 0 ? 0 : d + 1] = int(index);
    else
      at[d] = int(index);
    rest = quotient;
  }
  at[1] *= lanes;
}
WEFT_FN i64 offset_of(const i64* strides, const int* at) {
  return at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2] + at[3] * strides[3] + at[4] * strides[4];
}
WEFT_FN i64 plane_offset(const i64* strides, int d, int h, int w) {
  return d * strides[2] + h * strides[3] + w * strides[4];
}

template <class S, int lanes>
struct alignas(lanes > 1 ? 16 : sizeof(S)) Lanes {
  S v[lanes];
};
template <class S, int lanes>
WEFT_FN Lanes<S, lanes> lanes_at(const void* data, i64 offset) {
  return *reinterpret_cast<const Lanes<S, lanes>*>(static_cast<const S*>(data) + offset);
}
template <class S, int lanes>
WEFT_FN void put_lanes(void* data, i64 offset, const Lanes<S, lanes>& values) {
  *reinterpret_cast<Lanes<S, lanes>*>(static_cast<S*>(data) + offset) = values;
}
template <class S>
WEFT_FN Compute<S> widen(S x) {
  return convert_value<Compute<S>>(x);
}
template <class T>
WEFT_FN T lowest() {
  if constexpr (std::is_same_v<T, i64>)
    return INT64_MIN;
  else
    return -T(math::kInf);
}
WEFT_FN bool not_a_number(float x) { return x != x; }
WEFT_FN bool not_a_number(double x) { return x != x; }
WEFT_FN bool not_a_number(i64) { return false; }

template <class S, int lanes>
__global__ void __launch_bounds__(kThreads) max_forward(PoolArguments a) {
  using T = Compute<S>;
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    int at[5], begin[3], end[3];
    locate<lanes>(a, e, at);
#pragma unroll
    for (int d = 0; d < 3; ++d) a.axis[d].window(at[2 + d], begin[d], end[d]);
    const i64 from = at[0] * a.x[0] + at[1] * a.x[1];
    T best[lanes];
    int place[lanes];
#pragma unroll
    for (int k = 0; k < lanes; ++k) {
      best[k] = lowest<T>();
      place[k] = (begin[0] * a.axis[1].size + begin[1]) * a.axis[2].size + begin[2];
    }
    for (int d = begin[0]; d < end[0]; d += a.axis[0].dilation)
      for (int h = begin[1]; h < end[1]; h += a.axis[1].dilation)
        for (int w = begin[2]; w < end[2]; w += a.axis[2].dilation) {
          const auto x = lanes_at<S, lanes>(a.in, from + plane_offset(a.x, d, h, w));
          const int here = (d * a.axis[1].size + h) * a.axis[2].size + w;
#pragma unroll
          for (int k = 0; k < lanes; ++k) {
            const T v = widen(x.v[k]);
            if ((v > best[k]) | not_a_number(v)) {
              best[k] = v;
              place[k] = here;
            }
          }
        }
    Lanes<S, lanes> y;
#pragma unroll
    for (int k = 0; k < lanes; ++k) y.v[k] = convert_value<S>(best[k]);
    put_lanes<S, lanes>(a.out, offset_of(a.y, at), y);
    int64_t* index = a.index + offset_of(a.places, at);
    if constexpr (lanes == 1) {
      *index = place[0];
    } else {
#pragma unroll
      for (int k = 0; k < lanes; k += 2)
        put_lanes<int64_t, 2>(index, k, Lanes<int64_t, 2>{{int64_t(place[k]), int64_t(place[k + 1])}});
    }
  }
}

template <class S, int lanes>
__global__ void __launch_bounds__(kThreads) max_backward(PoolArguments a) {
  using T = Compute<S>;
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    int at[5], first[3], last[3];
    locate<lanes>(a, e, at);
#pragma unroll
    for (int d = 0; d < 3; ++d) a.axis[d].holders(at[2 + d], first[d], last[d]);
    const int here = (at[2] * a.axis[1].size + at[3]) * a.axis[2].size + at[4];
    const i64 from = at[0] * a.y[0] + at[1] * a.y[1], places = at[0] * a.places[0] + at[1] * a.places[1];
    T sum[lanes];
#pragma unroll
    for (int k = 0; k < lanes; ++k) sum[k] = T(0);
    for (int d = first[0]; d < last[0]; ++d)
      for (int h = first[1]; h < last[1]; ++h)
        for (int w = first[2]; w < last[2]; ++w) {
          const int64_t* index = a.index + places + plane_offset(a.places, d, h, w);
          if constexpr (lanes == 1) {
            if (*index == here) sum[0] += widen(static_cast<const S*>(a.in)[from + plane_offset(a.y, d, h, w)]);
          } else {
            const auto g = lanes_at<S, lanes>(a.in, from + plane_offset(a.y, d, h, w));
#pragma unroll
            for (int k = 0; k < lanes; k += 2) {
              const auto two = lanes_at<int64_t, 2>(index, k);
              if (two.v[0] == here) sum[k] += widen(g.v[k]);
              if (two.v[1] == here) sum[k + 1] += widen(g.v[k + 1]);
            }
          }
        }
    Lanes<S, lanes> x;
#pragma unroll
    for (int k = 0; k < lanes; ++k) x.v[k] = convert_value<S>(sum[k]);
    put_lanes<S, lanes>(a.out, offset_of(a.x, at), x);
  }
}

template <class W>
__global__ void __launch_bounds__(kThreads) max_gather(PoolArguments a) {
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    int at[5];
    locate<1>(a, e, at);
    const int place = int(a.index[offset_of(a.places, at)]), row = place / a.axis[2].size;
    const i64 from = at[0] * a.x[0] + at[1] * a.x[1] +
                     plane_offset(a.x, row / a.axis[1].size, row % a.axis[1].size, place % a.axis[2].size);
    static_cast<W*>(a.out)[offset_of(a.y, at)] = static_cast<const W*>(a.in)[from];
  }
}

/// What an average divides by at the output (d, h, w).
WEFT_FN i64 divisor(const PoolArguments& a, int d, int h, int w) {
  if (a.divisor_override != 0) return a.divisor_override;
  const int o[3] = {d, h, w};
  i64 n = 1;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    if (a.count_include_pad) {
      n *= a.axis[i].padded(o[i]);
    } else {
      int begin, end;
      a.axis[i].window(o[i], begin, end);
      n *= end > begin ? end - begin : 0;
    }
  }
  return n;
}

template <class S, int lanes>
__global__ void __launch_bounds__(kThreads) avg_forward(PoolArguments a) {
  using T = Compute<S>;
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    int at[5], begin[3], end[3];
    locate<lanes>(a, e, at);
#pragma unroll
    for (int d = 0; d < 3; ++d) a.axis[d].window(at[2 + d], begin[d], end[d]);
    const i64 from = at[0] * a.x[0] + at[1] * a.x[1];
    T sum[lanes];
#pragma unroll
    for (int k = 0; k < lanes; ++k) sum[k] = T(0);
    for (int d = begin[0]; d < end[0]; ++d)
      for (int h = begin[1]; h < end[1]; ++h)
        for (int w = begin[2]; w < end[2]; ++w) {
          const auto x = lanes_at<S, lanes>(a.in, from + plane_offset(a.x, d, h, w));
#pragma unroll
          for (int k = 0; k < lanes; ++k) sum[k] += widen(x.v[k]);
        }
    const T divide = T(divisor(a, at[2], at[3], at[4]));
    Lanes<S, lanes> y;
#pragma unroll
    for (int k = 0; k < lanes; ++k) y.v[k] = convert_value<S>(T(sum[k] / divide));
    put_lanes<S, lanes>(a.out, offset_of(a.y, at), y);
  }
}

template <class S, int lanes>
__global__ void __launch_bounds__(kThreads) avg_backward(PoolArguments a) {
  using T = Compute<S>;
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < a.n; e += gridDim.x * blockDim.x) {
    int at[5], first[3], last[3];
    locate<lanes>(a, e, at);
#pragma unroll
    for (int d = 0; d < 3; ++d) a.axis[d].holders(at[2 + d], first[d], last[d]);
    const i64 from = at[0] * a.y[0] + at[1] * a.y[1];
    T sum[lanes];
#pragma unroll
    for (int k = 0; k < lanes; ++k) sum[k] = T(0);
    for (int d = first[0]; d < last[0]; ++d)
      for (int h = first[1]; h < last[1]; ++h)
        for (int w = first[2]; w < last[2]; ++w) {
          const auto g = lanes_at<S, lanes>(a.in, from + plane_offset(a.y, d, h, w));
          const T divide = T(divisor(a, d, h, w));
#pragma unroll
          for (int k = 0; k < lanes; ++k) sum[k] += widen(g.v[k]) / divide;
        }
    Lanes<S, lanes> x;
#pragma unroll
    for (int k = 0; k < lanes; ++k) x.v[k] = convert_value<S>(sum[k]);
    put_lanes<S, lanes>(a.out, offset_of(a.x, at), x);
  }
}

// ---- host

void set_strides(const Tensor& t, i64* strides) {
  for (int d = 0; d < 5; ++d) strides[d] = 0;
  strides[0] = t.strides()[0], strides[1] = t.strides()[1];
  for (int d = 2; d < t.dim(); ++d) strides[d + 5 - t.dim()] = t.strides()[d];
}

/// Calls start(arguments, lanes as a constant) for parts of the result with fewer than 2^31 elements. `x` has the input
/// size of the pool, `y` the output size; `result` is one of them, and the other is read.
template <int kLanes, class F>
void in_launches(const OpCall& c, const Tensor& x, const Tensor& y, const Tensor& index, const Tensor& result,
                 F start) {
  const auto& p = c.as<PoolAttrs>();
  PoolArguments a{};
  set_strides(x, a.x);
  set_strides(y, a.y);
  if (index.defined()) set_strides(index, a.places);
  a.count_include_pad = p.count_include_pad;
  a.divisor_override = p.divisor_override;
  const bool to_x = result.is_same(x), by_channel = a.x[1] == 1 && a.y[1] == 1 && x.size(1) > 1;
  i64 plane = 1, other = 1, extent[5] = {x.size(0), x.size(1), 1, 1, 1};
  for (int d = 0; d < 3; ++d) {
    plane *= p.in_size[d];
    other *= p.out_size[d];
    extent[2 + d] = to_x ? p.in_size[d] : p.out_size[d];
    WEFT_CHECK(p.kernel[d] * p.dilation[d] + p.padding[d] + p.stride[d] < (i64{1} << 30),
               "{}: windows of 2^30 or more elements; pool parts of x", c.op.name);
    a.axis[d] = {int(p.in_size[d]), int(p.out_size[d]), p.adaptive ? 0 : int(p.kernel[d]),
                 int(p.stride[d]),  int(p.padding[d]),  p.adaptive ? 1 : int(p.dilation[d])};
  }
  constexpr i64 kMost = (i64{1} << 31) - 1;
  WEFT_CHECK(plane <= kMost && other <= kMost, "{}: a plane of 2^31 or more elements; pool parts of it", c.op.name);
  const i64 area = extent[2] * extent[3] * extent[4];
  if (area == 0 || extent[0] == 0 || extent[1] == 0) return;

  // 16 bytes of channels, where all sides have them.
  const Tensor& in = to_x ? y : x;
  auto even = [](const Tensor& t, int count) {
    if (t.strides()[1] != 1 || !aligned16(t.impl()->data)) return false;
    for (int d = 0; d < t.dim(); ++d)
      if (d != 1 && t.size(d) > 1 && t.strides()[d] % count != 0) return false;
    return true;
  };
  const bool wide = kLanes > 1 && kMost / area >= kLanes && by_channel && extent[1] % kLanes == 0 && even(in, kLanes) &&
                    even(result, kLanes) && (!index.defined() || even(index, 2));
  const int lanes = wide ? kLanes : 1;

  // Images and, where one alone is too large, channels are cut.
  const i64 channel_step = std::min(extent[1], kMost / area / lanes * lanes);
  const i64 batch_step = channel_step < extent[1] ? 1 : std::max<i64>(1, kMost / (area * extent[1]));
  for (i64 image = 0; image < extent[0]; image += batch_step)
    for (i64 channel = 0; channel < extent[1]; channel += channel_step) {
      const i64 images = std::min(batch_step, extent[0] - image),
                channels = std::min(channel_step, extent[1] - channel) / lanes;
      auto moved = [&](const Tensor& t) {
        return static_cast<char*>(t.impl()->data) +
               (image * t.strides()[0] + channel * t.strides()[1]) * i64(itemsize(t.dtype()));
      };
      a.in = moved(in);
      a.out = moved(result);
      a.index = index.defined() ? reinterpret_cast<int64_t*>(moved(index)) : nullptr;
      a.channels_last = result.strides()[1] == 1 && x.size(1) > 1;
      const i64 here[5] = {images, channels, extent[2], extent[3], extent[4]};
      for (int d = 0; d < 5; ++d)
        a.extents[d] = Divider(u32(here[!a.channels_last || d == 0 ? d : d == 4 ? 1 : d + 1]));
      a.n = u32(images * channels * area);
      if (wide)
        start(a, std::integral_constant<int, kLanes>{});
      else
        start(a, std::integral_constant<int, 1>{});
    }
}

template <class F>
void with_storage(DType t, bool integers, F body) {
  if (with_floating(t, body)) return;
  WEFT_CHECK_TYPE(integers && t != DType::bool_, "pooling: no kernel for {}; convert x to a number dtype", t);
  switch (t) {
    case DType::i8:
      return body(Type<int8_t>{});
    case DType::u8:
      return body(Type<uint8_t>{});
    case DType::i16:
      return body(Type<int16_t>{});
    case DType::i32:
      return body(Type<int32_t>{});
    default:
      return body(Type<int64_t>{});
  }
}

#define WEFT_START_POOL(kernel)                                                                 \
  [](const PoolArguments& a, auto lanes) {                                                      \
    launch(kernel<S, decltype(lanes)::value>, grid_for(a.n), kThreads, 0, current_stream(), a); \
  }

}  // namespace

void max_pool(const OpCall& c) {
  with_storage(c.in[0].dtype(), true, [&](auto s) {
    using S = typename decltype(s)::type;
    in_launches<int(Pack<S>::kCount)>(c, c.in[0], c.out[0], c.out[1], c.out[0], WEFT_START_POOL(max_forward));
  });
}
void max_pool_backward(const OpCall& c) {
  with_storage(c.in[0].dtype(), false, [&](auto s) {
    using S = typename decltype(s)::type;
    in_launches<int(Pack<S>::kCount)>(c, c.out[0], c.in[0], c.in[1], c.out[0], WEFT_START_POOL(max_backward));
  });
}
void max_pool_gather(const OpCall& c) {
  with_width(c.in[0].dtype(), [&](auto w) {
    using W = typename decltype(w)::type;
    in_launches<1>(c, c.in[0], c.out[0], c.in[1], c.out[0], [](const PoolArguments& a, auto) {
      launch(max_gather<W>, grid_for(a.n), kThreads, 0, current_stream(), a);
    });
  });
}
void avg_pool(const OpCall& c) {
  with_storage(c.in[0].dtype(), true, [&](auto s) {
    using S = typename decltype(s)::type;
    in_launches<int(Pack<S>::kCount)>(c, c.in[0], c.out[0], {}, c.out[0], WEFT_START_POOL(avg_forward));
  });
}
void avg_pool_backward(const OpCall& c) {
  with_storage(c.in[0].dtype(), false, [&](auto s) {
    using S = typename decltype(s)::type;
    in_launches<int(Pack<S>::kCount)>(c, c.out[0], c.in[0], {}, c.out[0], WEFT_START_POOL(avg_backward));
  });
}
#undef WEFT_START_POOL

}  // namespace weft::gpu
