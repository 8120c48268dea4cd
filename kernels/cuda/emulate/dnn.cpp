// The emulation's library: takes what the real one may take, computes it on the host exactly as the call says, and
// compares with the project's kernels, whose results it leaves.
#include "kernels/cuda/dnn.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/emulate/streams.h"

namespace weft::gpu::dnn {
namespace {

constexpr int64_t kMostWork = int64_t{1} << 22;  // of a comparison

double read(const void* data, int64_t index, DType dtype) { return load_as<double>(data, index, dtype); }

double unit(DType dtype) {
  return dtype == DType::f64 ? 1e-13 : dtype == DType::f32 ? 1e-5 : dtype == DType::f16 ? 2e-3 : 1.6e-2;
}

// `expected` is a sum of terms of size `terms` in all.
void compare(const char* op, double found, double expected, double terms, DType dtype) {
  if (std::isnan(expected) || std::isinf(expected)) return;
  WEFT_ASSERT(std::abs(found - expected) <= unit(dtype) * (terms + std::abs(expected)) + 1e-7,
              "{}: the kernels give {}, the description means {} (terms {})", op, found, expected, terms);
}

template <class F>
void each(const int64_t* sizes, F&& f) {
  int64_t at[3];
  for (at[0] = 0; at[0] < sizes[0]; ++at[0])
    for (at[1] = 0; at[1] < sizes[1]; ++at[1])
      for (at[2] = 0; at[2] < sizes[2]; ++at[2]) f(at);
}
int64_t place(const int64_t* strides, int64_t a, int64_t b, const int64_t* at) {
  return a * strides[0] + b * strides[1] + at[0] * strides[2] + at[1] * strides[3] + at[2] * strides[4];
}

// Calls f(index in x, index in w, index in y) for every product of the convolution.
template <class F>
void each_product(const ConvolutionCall& c, F&& f) {
  const int64_t cin = c.cin / c.groups, cout = c.cout / c.groups;
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t o = 0; o < c.cout; ++o)
      each(c.y_size, [&](const int64_t* y) {
        each(c.kernel, [&](const int64_t* k) {
          int64_t x[3];
          for (int d = 0; d < 3; ++d) {
            x[d] = y[d] * c.stride[d] - c.padding[d] + k[d] * c.dilation[d];
            if (x[d] < 0 || x[d] >= c.x_size[d]) return;
          }
          for (int64_t i = 0; i < cin; ++i)
            f(place(c.x_strides, n, o / cout * cin + i, x), place(c.w_strides, o, i, k), place(c.y_strides, n, o, y));
        });
      });
}

int64_t last_element(const int64_t* strides, int64_t a, int64_t b, const int64_t* sizes) {
  const int64_t at[3] = {sizes[0] - 1, sizes[1] - 1, sizes[2] - 1};
  return place(strides, a - 1, b - 1, at);
}

}  // namespace

bool supports(const ConvolutionCall& c) { return library_takes(c); }
bool supports(const AttentionCall& c) { return library_takes(c); }

namespace {
void check(const ConvolutionCall& c) {
  const int64_t work = c.batch * c.cout * c.y_size[0] * c.y_size[1] * c.y_size[2] * (c.cin / c.groups) * c.kernel[0] *
                       c.kernel[1] * c.kernel[2];
  if (work > kMostWork) return;
  using Kind = ConvolutionCall::Kind;
  const void* result = c.kind == Kind::forward ? c.y : c.kind == Kind::data_gradient ? c.x : c.w;
  const int64_t last = c.kind == Kind::forward         ? last_element(c.y_strides, c.batch, c.cout, c.y_size)
                       : c.kind == Kind::data_gradient ? last_element(c.x_strides, c.batch, c.cin, c.x_size)
                                                       : last_element(c.w_strides, c.cout, c.cin / c.groups, c.kernel);
  std::vector<double> sums(size_t(last + 1)), terms(size_t(last + 1));
  each_product(c, [&](int64_t x, int64_t w, int64_t y) {
    const double product = c.kind == Kind::forward         ? read(c.x, x, c.dtype) * read(c.w, w, c.dtype)
                           : c.kind == Kind::data_gradient ? read(c.y, y, c.dtype) * read(c.w, w, c.dtype)
                                                           : read(c.y, y, c.dtype) * read(c.x, x, c.dtype);
    const size_t to = size_t(c.kind == Kind::forward ? y : c.kind == Kind::data_gradient ? x : w);
    sums[to] += product;
    terms[to] += std::abs(product);
  });
  for (int64_t i = 0; i <= last; ++i)
    compare("convolution", read(result, i, c.dtype), sums[size_t(i)], terms[size_t(i)], c.dtype);
}
}  // namespace

void run(const ConvolutionCall& given, cudaStream_t stream) {
  ConvolutionCall c = given;
  c.bias = nullptr;
  convolution_kernels(c);
  emulate::put(stream, [c] { check(c); });
}

namespace {

struct Matrix {
  const AttentionOperand& o;
  DType dtype;
  int64_t b, h;
  int64_t index(int64_t t, int64_t i) const {
    return b * o.strides[0] + h * o.strides[1] + t * o.strides[2] + i * o.strides[3];
  }
  double operator()(int64_t t, int64_t i) const { return read(o.data, index(t, i), dtype); }
};

// One head's probabilities, and the sums that backward needs.
void check_head(const AttentionCall& c, int64_t b, int64_t h, std::vector<double>& dk, std::vector<double>& dv) {
  const int64_t kv = h / (c.heads / c.kv_heads);
  const Matrix q{c.q, c.dtype, b, h}, k{c.k, c.dtype, b, kv}, v{c.v, c.dtype, b, kv}, o{c.o, c.dtype, b, h};
  std::vector<double> p(size_t(c.tk)), dp(size_t(c.tk));
  for (int64_t r = 0; r < c.tq; ++r) {
    const int64_t seen = c.causal ? std::min(c.tk, r + 1) : c.tk;
    double most = -INFINITY, total = 0;
    for (int64_t j = 0; j < seen; ++j) {
      double s = 0;
      for (int64_t i = 0; i < c.d; ++i) s += q(r, i) * k(j, i);
      most = std::max(most, p[size_t(j)] = s * c.scale);
    }
    for (int64_t j = 0; j < seen; ++j) total += p[size_t(j)] = std::exp(p[size_t(j)] - most);
    for (int64_t j = 0; j < seen; ++j) p[size_t(j)] /= total;
    if (!c.backward) {
      compare("scaled_dot_product_attention", static_cast<float*>(c.stats)[(b * c.heads + h) * c.tq + r],
              most + std::log(total), 10, DType::f32);
      for (int64_t i = 0; i < c.dv; ++i) {
        double sum = 0, terms = 0;
        for (int64_t j = 0; j < seen; ++j) sum += p[size_t(j)] * v(j, i), terms += std::abs(p[size_t(j)] * v(j, i));
        compare("scaled_dot_product_attention", o(r, i), sum, terms, c.dtype);
      }
      continue;
    }
    const Matrix g{c.grad_o, c.dtype, b, h};
    double delta = 0;
    for (int64_t i = 0; i < c.dv; ++i) delta += g(r, i) * o(r, i);
    for (int64_t j = 0; j < seen; ++j) {
      dp[size_t(j)] = -delta;
      for (int64_t i = 0; i < c.dv; ++i) {
        dp[size_t(j)] += g(r, i) * v(j, i);
        dv[size_t(j * c.dv + i)] += p[size_t(j)] * g(r, i);
      }
      dp[size_t(j)] *= p[size_t(j)] * c.scale;
      for (int64_t i = 0; i < c.d; ++i) dk[size_t(j * c.d + i)] += dp[size_t(j)] * q(r, i);
    }
    for (int64_t i = 0; i < c.d; ++i) {
      double sum = 0, terms = 1;
      for (int64_t j = 0; j < seen; ++j) sum += dp[size_t(j)] * k(j, i), terms += std::abs(dp[size_t(j)] * k(j, i));
      compare("scaled_dot_product_attention_backward", Matrix{c.grad_q, c.dtype, b, h}(r, i), sum, terms, c.dtype);
    }
  }
}

void check(const AttentionCall& c) {
  if (c.batch * c.heads * c.tq * c.tk * (c.d + c.dv) > kMostWork) return;
  const int64_t group = c.heads / c.kv_heads;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t kv = 0; kv < c.kv_heads; ++kv) {
      std::vector<double> dk(size_t(c.tk * c.d)), dv(size_t(c.tk * c.dv));
      for (int64_t h = kv * group; h < (kv + 1) * group; ++h) check_head(c, b, h, dk, dv);
      if (!c.backward) continue;
      const char* op = "scaled_dot_product_attention_backward";
      for (int64_t j = 0; j < c.tk; ++j) {
        for (int64_t i = 0; i < c.d; ++i)
          compare(op, Matrix{c.grad_k, c.dtype, b, kv}(j, i), dk[size_t(j * c.d + i)], 1, c.dtype);
        for (int64_t i = 0; i < c.dv; ++i)
          compare(op, Matrix{c.grad_v, c.dtype, b, kv}(j, i), dv[size_t(j * c.dv + i)], 1, c.dtype);
      }
    }
}

}  // namespace

void run(const AttentionCall& c, cudaStream_t stream) {
  attention_kernels(c);
  emulate::put(stream, [c] { check(c); });
}

std::string dnn_library() { return "none: the host emulation compares its kernels with the descriptions"; }
std::string dnn_self_test() { return "no library in the host emulation\n"; }

}  // namespace weft::gpu::dnn
