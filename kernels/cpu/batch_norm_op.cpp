// The batch_norm ops on the passes of batch_norm.h.
#include "core/ops/batch_norm.h"

#include <cmath>
#include <vector>

#include "core/ops/copy.h"
#include "kernels/cpu/batch_norm.h"
#include "kernels/cpu/copy_matrix.h"

namespace weft::cpu {
namespace {

using Values = std::vector<double>;

// Calls f with a typed pointer to t's memory.
template <class F>
void with_data(const Tensor& t, F f) {
  switch (t.dtype()) {
    case DType::f32:
      return f(static_cast<float*>(t.data_ptr()));
    case DType::f64:
      return f(static_cast<double*>(t.data_ptr()));
    case DType::bf16:
      return f(static_cast<BFloat16*>(t.data_ptr()));
    default:
      return f(static_cast<Half*>(t.data_ptr()));
  }
}

// A per-channel tensor; `missing` where there is none.
Values values(const Tensor& t, int64_t channels, double missing) {
  Values v(static_cast<size_t>(channels), missing);
  if (t.defined())
    with_data(t, [&](auto* p) {
      for (int64_t c = 0; c < channels; ++c) v[c] = widen<double>(p[c * t.strides()[0]]);
    });
  return v;
}
void assign(const Tensor& t, const Values& v) {
  if (!t.defined()) return;
  with_data(t, [&](auto* p) {
    using S = std::remove_reference_t<decltype(*p)>;
    for (size_t c = 0; c < v.size(); ++c) {
      if constexpr (std::is_same_v<S, double>)
        p[c * t.strides()[0]] = v[c];
      else
        p[c * t.strides()[0]] = narrow<S>(static_cast<float>(v[c]));
    }
  });
}

ChannelArray describe(const Tensor& x, MemoryFormat format) {
  ChannelArray a{x.dtype(), x.sizes()[0], x.sizes()[1], 1, format != MemoryFormat::contiguous};
  for (int d = 2; d < x.dim(); ++d) a.area *= x.sizes()[d];
  return a;
}

// t in the dense layout that the passes need.
Tensor laid_out(const Tensor& t, MemoryFormat format) {
  if (t.is_contiguous(format)) return t;
  const Dims strides =
      format == MemoryFormat::contiguous ? contiguous_strides(t.sizes()) : channels_last_strides(t.sizes());
  Tensor out[1] = {weft::detail::allocate(t.sizes(), strides, t.dtype(), t.device())};
  const Tensor in[1] = {t};
  const NoAttrs none;
  copy({ToCopyOp::record, in, 1, out, 1, &none});
  return out[0];
}

}  // namespace

void batch_norm(const OpCall& call) {
  const auto& a = call.as<BatchNormAttrs>();
  const Tensor &x = call.in[0], &running_mean = call.in[3], &running_var = call.in[4];
  const ChannelArray array = describe(x, a.format);
  const int64_t channels = array.channels;
  const double count = double(array.batch) * double(array.area);
  Values mean(channels), var(channels), rstd(channels), scale = values(call.in[1], channels, 1),
                                                        shift = values(call.in[2], channels, 0);
  if (a.training) {
    channel_statistics(array, x.data_ptr(), mean.data(), var.data());
    Values old_mean = values(running_mean, channels, 0), old_var = values(running_var, channels, 0);
    for (int64_t c = 0; c < channels; ++c) {
      old_mean[c] = (1 - a.momentum) * old_mean[c] + a.momentum * mean[c];
      old_var[c] = (1 - a.momentum) * old_var[c] + a.momentum * var[c] * (count / (count - 1));
    }
    assign(running_mean, old_mean);
    assign(running_var, old_var);
  } else {
    mean = values(running_mean, channels, 0);
    var = values(running_var, channels, 1);
  }
  for (int64_t c = 0; c < channels; ++c) {
    rstd[c] = 1 / std::sqrt(var[c] + a.eps);
    scale[c] *= rstd[c];
    shift[c] -= mean[c] * scale[c];
  }
  assign(call.out[1], mean);
  assign(call.out[2], rstd);
  channel_affine(array, x.data_ptr(), scale.data(), shift.data(), call.out[0].data_ptr());
}

// With h = (x - mean) rstd, n values per channel: db = sum dy, dw = sum dy h, dx = w rstd (dy - db / n - h dw / n);
// with fixed statistics the last two terms are absent.
void batch_norm_backward(const OpCall& call) {
  const auto& a = call.as<BatchNormAttrs>();
  const Tensor dy = laid_out(call.in[0], a.format);
  const Tensor& x = call.in[1];
  const ChannelArray array = describe(x, a.format);
  const int64_t channels = array.channels;
  const double count = double(array.batch) * double(array.area);
  const Values mean = values(call.in[3], channels, 0), rstd = values(call.in[4], channels, 1);
  Values scale = values(call.in[2], channels, 1), sum(channels), dot(channels), slope(channels);
  const bool sums = a.training || call.out[1].defined() || call.out[2].defined();
  if (sums) channel_gradient_sums(array, dy.data_ptr(), x.data_ptr(), mean.data(), sum.data(), dot.data());
  for (int64_t c = 0; c < channels; ++c) {
    scale[c] *= rstd[c];
    slope[c] = -scale[c] * dot[c] * rstd[c] * rstd[c] / count;
    dot[c] *= rstd[c];
  }
  assign(call.out[1], dot);
  assign(call.out[2], sum);
  if (!call.out[0].defined()) return;
  if (a.training) {
    for (double& s : sum) s /= count;
    channel_gradient(array, dy.data_ptr(), x.data_ptr(), sum.data(), scale.data(), mean.data(), slope.data(),
                     call.out[0].data_ptr());
  } else {
    std::fill(sum.begin(), sum.end(), 0.0);
    channel_affine(array, dy.data_ptr(), scale.data(), sum.data(), call.out[0].data_ptr());
  }
}

}  // namespace weft::cpu
