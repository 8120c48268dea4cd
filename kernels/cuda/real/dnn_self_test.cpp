// cuDNN against the project's kernels on a device, as a report.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "core/error.h"
#include "core/ops/extents.h"
#include "core/ops/random.h"
#include "core/tensor.h"
#include "core/thread_state.h"
#include "kernels/cuda/real/dnn_plans.h"

namespace weft::gpu::dnn {
namespace {

double microseconds(const std::function<void()>& f, int times) {
  f();
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event"), check(cudaEventCreate(&end), "event");
  check(cudaEventRecord(begin, current_stream()), "event");
  for (int i = 0; i < times; ++i) f();
  check(cudaEventRecord(end, current_stream()), "event");
  check(cudaEventSynchronize(end), "event");
  float ms = 0;
  check(cudaEventElapsedTime(&ms, begin, end), "event");
  cudaEventDestroy(begin), cudaEventDestroy(end);
  return double(ms) * 1e3 / times;
}

// The largest difference, over the largest value.
double difference(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(Device("cpu")).to(DType::f64).contiguous(), y = b.to(Device("cpu")).to(DType::f64).contiguous();
  const auto *p = static_cast<const double*>(x.data_ptr()), *q = static_cast<const double*>(y.data_ptr());
  double most = 0, largest = 1e-30;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (std::isnan(p[i]) || std::isnan(q[i])) return INFINITY;
    most = std::max(most, std::abs(p[i] - q[i])), largest = std::max(largest, std::abs(q[i]));
  }
  return most / largest;
}

const char* text_of(DType t) {
  return t == DType::f32 ? "f32" : t == DType::f64 ? "f64" : t == DType::bf16 ? "bf16" : "f16";
}

struct Report {
  std::string text;
  template <class... A>
  void add(const char* format, A... a) {
    char line[512];
    std::snprintf(line, sizeof line, format, a...);
    text += line;
  }
  // Rounding to 16 bits moves a result by less than a hundredth of the largest one.
  void result(double library, double kernels, double flops, double difference) {
    add("library %9.1f us (%6.1f TFLOP/s)  kernels %10.1f us  difference %.1e%s\n", library, flops / library * 1e-6,
        kernels, difference, difference <= 0.02 ? "" : " FAILED");
  }
};

Tensor random_tensor(const Dims& sizes, const Dims& strides, DType dtype, Device device, double scale = 1) {
  Tensor t = detail::allocate(sizes, strides, dtype, device);
  t.copy_(randn(sizes).mul(scale).to(dtype));
  return t;
}

// ---- convolution

struct ConvolutionCase {
  const char* title;
  int64_t batch, cin, cout, size, kernel, stride, padding, groups;
};

void convolution_case(Report& r, const ConvolutionCase& s, DType dtype, bool last, Device device) {
  const MemoryFormat format = last ? MemoryFormat::channels_last : MemoryFormat::contiguous;
  const int64_t out = (s.size + 2 * s.padding - s.kernel) / s.stride + 1;
  const Dims sizes[3] = {
      {s.batch, s.cin, s.size, s.size}, {s.cout, s.cin / s.groups, s.kernel, s.kernel}, {s.batch, s.cout, out, out}};
  Tensor given[3];
  const double scale[3] = {1, 1 / std::sqrt(double(s.cin / s.groups * s.kernel * s.kernel)), 1};
  for (int i = 0; i < 3; ++i)
    given[i] = random_tensor(sizes[i], detail::strides_of(sizes[i], format), dtype, device, scale[i]);
  ConvolutionCall c;
  c.dtype = dtype, c.deterministic = true, c.space = 2, c.batch = s.batch, c.groups = s.groups, c.cin = s.cin;
  c.cout = s.cout;
  int64_t* strides[3] = {c.x_strides, c.w_strides, c.y_strides};
  for (int i = 0; i < 3; ++i) {
    const Dims& from = given[i].strides();
    strides[i][0] = from[0], strides[i][1] = strides[i][2] = from[1], strides[i][3] = from[2], strides[i][4] = from[3];
  }
  for (int d = 1; d < 3; ++d) {
    c.x_size[d] = s.size, c.y_size[d] = out, c.kernel[d] = s.kernel;
    c.stride[d] = s.stride, c.padding[d] = s.padding;
  }
  static constexpr const char* kKinds[3] = {"forward", "data", "weight"};
  for (int kind = 0; kind < 3; ++kind) {
    c.kind = static_cast<ConvolutionCall::Kind>(kind);
    const int result = kind == 0 ? 2 : kind == 1 ? 0 : 1;
    Tensor of[2];
    for (Tensor& t : of) {
      t = detail::allocate(sizes[result], given[result].strides(), dtype, device);
      t.zero_();
    }
    void** data[3] = {&c.x, &c.w, &c.y};
    for (int i = 0; i < 3; ++i) *data[i] = given[i].impl()->data;
    r.add("conv %-7s %-4s %s %-28s ", kKinds[kind], text_of(dtype), last ? "nhwc" : "nchw", s.title);
    *data[result] = of[0].impl()->data;
    ConvolutionCall own = c;
    (result == 0 ? own.x : result == 1 ? own.w : own.y) = of[1].impl()->data;
    if (planned(c).plan == nullptr) {
      r.add("declined: %.200s\n", planned(c).why.c_str());
      continue;
    }
    const double library = microseconds([&] { run(c, current_stream()); }, 20);
    const double kernels = microseconds([&] { convolution_kernels(own); }, 2);
    const double flops = 2.0 * double(s.batch * s.cout * out * out) * double(s.cin / s.groups * s.kernel * s.kernel);
    r.result(library, kernels, flops, difference(of[0], of[1]));
  }
}

// ---- attention

struct AttentionCase {
  int64_t batch, heads, kv_heads, tq, tk, d, dv;
  bool causal;
};

void attention_case(Report& r, const AttentionCase& s, DType dtype, Device device) {
  const auto heads = [&](int64_t h, int64_t time, int64_t width) {
    const Dims sizes{s.batch, h, time, width}, strides{h * time * width, width, h * width, 1};
    return random_tensor(sizes, strides, dtype, device);
  };
  AttentionCall c;
  c.dtype = dtype, c.causal = s.causal, c.batch = s.batch, c.heads = s.heads, c.kv_heads = s.kv_heads;
  c.tq = s.tq, c.tk = s.tk, c.d = s.d, c.dv = s.dv, c.scale = 1 / std::sqrt(double(s.d));
  const auto put = [](AttentionOperand& o, const Tensor& t) {
    o.data = t.impl()->data;
    for (int d = 0; d < 4; ++d) o.strides[d] = t.strides()[d];
  };
  const Tensor q = heads(s.heads, s.tq, s.d), k = heads(s.kv_heads, s.tk, s.d), v = heads(s.kv_heads, s.tk, s.dv);
  put(c.q, q), put(c.k, k), put(c.v, v);
  Tensor o[2], stats[2];
  for (int i = 0; i < 2; ++i) {
    o[i] = heads(s.heads, s.tq, s.dv);
    stats[i] = detail::allocate({s.batch, s.heads, s.tq}, DType::f32, device);
  }
  const auto title = [&](const char* what) {
    r.add("attention %-14s %-4s %ld x %ld/%ld heads, %ld x %ld, width %ld/%ld %-6s ", what, text_of(dtype),
          long(s.batch), long(s.heads), long(s.kv_heads), long(s.tq), long(s.tk), long(s.d), long(s.dv),
          s.causal ? "causal" : "full");
  };
  const double flops = 2.0 * double(s.batch * s.heads * s.tq * s.tk) * double(s.d + s.dv) * (s.causal ? 0.5 : 1);
  const auto line = [&](double library, double kernels, double work, double most) {
    r.result(library, kernels, work, most);
  };
  title("forward");
  AttentionCall own = c;
  put(c.o, o[0]), c.stats = stats[0].impl()->data;
  put(own.o, o[1]), own.stats = stats[1].impl()->data;
  const double kernels = microseconds([&] { attention_kernels(own); }, 2);
  if (planned(c).plan == nullptr) {
    r.add("declined: %.200s\n", planned(c).why.c_str());
  } else {
    const double library = microseconds([&] { run(c, current_stream()); }, 20);
    line(library, kernels, flops, std::max(difference(o[0], o[1]), difference(stats[0], stats[1])));
  }
  own.backward = true;
  const Tensor g = heads(s.heads, s.tq, s.dv);
  put(own.grad_o, g);
  Tensor grads[2][3];
  for (auto& set : grads) {
    set[0] = heads(s.heads, s.tq, s.d), set[1] = heads(s.kv_heads, s.tk, s.d), set[2] = heads(s.kv_heads, s.tk, s.dv);
  }
  AttentionCall backward = own;
  put(own.grad_q, grads[1][0]), put(own.grad_k, grads[1][1]), put(own.grad_v, grads[1][2]);
  put(backward.grad_q, grads[0][0]), put(backward.grad_k, grads[0][1]), put(backward.grad_v, grads[0][2]);
  const double own_backward = microseconds([&] { attention_kernels(own); }, 2);
  for (const bool deterministic : {true, false}) {
    backward.deterministic = deterministic;
    title(deterministic ? "backward fixed" : "backward");
    if (planned(backward).plan == nullptr) {
      r.add("declined: %.200s\n", planned(backward).why.c_str());
      continue;
    }
    const double library = microseconds([&] { run(backward, current_stream()); }, 20);
    double most = 0;
    for (int i = 0; i < 3; ++i) most = std::max(most, difference(grads[0][i], grads[1][i]));
    line(library, own_backward, 2.5 * flops, most);
    if (!deterministic) continue;
    const Tensor before = grads[0][0].to(Device("cpu"));
    run(backward, current_stream());
    const Tensor after = grads[0][0].to(Device("cpu"));
    if (difference(before, after) != 0) r.add("  NOT the same bits in a second run\n");
  }
}

}  // namespace

std::string dnn_self_test() {
  NoGrad guard;
  Report r;
  r.add("%s\n", dnn_library().c_str());
  if (cudnn::library() == nullptr) return r.text;
  int index = 0;
  check(cudaGetDevice(&index), "device");
  const Device device(DeviceType::cuda, index);
  const auto guarded = [&](auto&& f) {
    try {
      f();
    } catch (const std::exception& e) {
      r.add("FAILED: %.400s\n", e.what());
    }
  };
  const ConvolutionCase convolutions[] = {{"32x64x56x56 k3 to 64", 32, 64, 64, 56, 3, 1, 1, 1},
                                          {"32x256x28x28 k1 to 512 s2", 32, 256, 512, 28, 1, 2, 0, 1},
                                          {"8x3x224x224 k7 to 64 s2", 8, 3, 64, 224, 7, 2, 3, 1},
                                          {"8x64x28x28 k3 depthwise", 8, 64, 64, 28, 3, 1, 1, 64},
                                          {"4x5x13x13 k3 to 7", 4, 5, 7, 13, 3, 1, 1, 1}};
  for (const auto& s : convolutions)
    for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
      for (const bool last : {false, true})
        if (t != DType::f64 || s.batch == 4) guarded([&] { convolution_case(r, s, t, last, device); });
  const AttentionCase attentions[] = {{4, 16, 16, 1024, 1024, 64, 64, true},   {4, 16, 16, 1024, 1024, 64, 64, false},
                                      {2, 16, 16, 2048, 2048, 128, 128, true}, {2, 8, 2, 512, 512, 64, 64, true},
                                      {2, 8, 8, 100, 77, 64, 64, false},       {2, 8, 8, 1, 300, 128, 128, false},
                                      {2, 4, 4, 33, 33, 40, 40, true},         {1, 4, 4, 256, 256, 256, 256, true}};
  for (const auto& s : attentions)
    for (const DType t : {DType::bf16, DType::f16})
      if (t == DType::bf16 || s.d == 64) guarded([&] { attention_case(r, s, t, device); });
  return r.text;
}

}  // namespace weft::gpu::dnn
