#include "core/ops/optimizer_step.h"

#include <algorithm>
#include <atomic>

#include "core/parallel.h"
#include "kernels/cpu/convert.h"
#include "kernels/optimizer_update.h"

namespace weft::cpu {
namespace {

constexpr int64_t kPiece = 16384;  // elements a thread takes at a time, across tensor borders
constexpr int64_t kTile = 512;     // of bf16 and f16, converted to f32 and back
constexpr int kMaxInputs = 5;

// The formula runs in T; pointers[k] is input k of one parameter.
template <class T>
using Update = void (*)(T* const* pointers, int64_t n, const void* attrs);

template <class T>
void update_tensor(const Tensor* in, int stride, int64_t begin, int64_t n, Update<T> update, const void* attrs) {
  T* pointers[kMaxInputs];
  const DType dtype = in[0].dtype();
  constexpr DType compute = std::is_same_v<T, double> ? DType::f64 : DType::f32;
  if (dtype == compute) {
    for (int k = 0; k < stride; ++k) pointers[k] = static_cast<T*>(in[k].data_ptr()) + begin;
    update(pointers, n, attrs);
    return;
  }
  const int64_t width = static_cast<int64_t>(itemsize(dtype));
  T tiles[kMaxInputs][kTile];
  for (int k = 0; k < stride; ++k) pointers[k] = tiles[k];
  for (int64_t i = 0; i < n; i += kTile) {
    int64_t m = std::min(kTile, n - i);
    for (int k = 0; k < stride; ++k)
      converter(compute, dtype)(tiles[k], 1, static_cast<const char*>(in[k].data_ptr()) + (begin + i) * width, 1, m);
    update(pointers, m, attrs);
    for (int k = 0; k < stride; ++k)
      if (k != 1)
        converter(dtype, compute)(static_cast<char*>(in[k].data_ptr()) + (begin + i) * width, 1, tiles[k], 1, m);
  }
}

void update_all(const OpCall& c, int stride, Update<float> f32, Update<double> f64, const void* attrs) {
  const int count = c.n_in / stride;
  auto one = [&](int i, int64_t begin, int64_t n) {
    const Tensor* in = c.in + i * stride;
    if (in[0].dtype() == DType::f64)
      update_tensor<double>(in, stride, begin, n, f64, attrs);
    else
      update_tensor<float>(in, stride, begin, n, f32, attrs);
  };
  int64_t total = 0;
  for (int i = 0; i < count; ++i) total += c.in[i * stride].numel();
  if (total <= kPiece) {
    for (int i = 0; i < count; ++i) one(i, 0, c.in[i * stride].numel());
    return;
  }
  std::vector<int64_t> starts;
  int64_t at = 0;
  for (int i = 0; i < count; ++i) {
    starts.push_back(at);
    at += c.in[i * stride].numel();
  }
  parallel_for(total, kPiece, [&](int64_t begin, int64_t end) {
    int i = static_cast<int>(std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin()) - 1;
    while (begin < end) {
      int64_t n = c.in[i * stride].numel();
      int64_t here = std::min(end, starts[static_cast<size_t>(i)] + n) - begin;
      if (here > 0) one(i, begin - starts[static_cast<size_t>(i)], here);
      begin += std::max<int64_t>(here, 0);
      ++i;
    }
  });
}

// Each tensor is a buffer of its own: without aliasing checks the loops vectorise plainly.
template <class T>
void sgd_update(T* const* x, int64_t n, const void* attrs) {
  const auto& a = *static_cast<const SgdStepOp::Attrs*>(attrs);
  const optimizer::Sgd<T> sgd(a);
  T* __restrict p = x[0];
  const T* __restrict g = x[1];
  if (a.momentum == 0) {
    for (int64_t i = 0; i < n; ++i) p[i] = sgd.plain(p[i], g[i]);
    return;
  }
  T* __restrict buffer = x[2];
  for (int64_t i = 0; i < n; ++i) {
    T b = buffer[i];
    p[i] = sgd.with_momentum(p[i], g[i], b);
    buffer[i] = b;
  }
}

template <class T>
void adam_update(T* const* x, int64_t n, const void* attrs) {
  const auto& a = *static_cast<const AdamStepOp::Attrs*>(attrs);
  const optimizer::Adam<T> adam(a);
  T* __restrict p = x[0];
  const T* __restrict g = x[1];
  T* __restrict m = x[2];
  T* __restrict v = x[3];
  if (!a.amsgrad) {
    for (int64_t i = 0; i < n; ++i) {
      T mean = m[i], square = v[i];
      adam.moments(p[i], g[i], mean, square);
      m[i] = mean;
      v[i] = square;
      p[i] = adam.parameter(p[i], mean, square);
    }
    return;
  }
  T* __restrict top = x[4];
  for (int64_t i = 0; i < n; ++i) {
    T mean = m[i], square = v[i];
    adam.moments(p[i], g[i], mean, square);
    T largest = top[i] > square ? top[i] : square;
    m[i] = mean;
    v[i] = square;
    top[i] = largest;
    p[i] = adam.parameter(p[i], mean, largest);
  }
}

struct Unscale {
  double factor;
  std::atomic<bool>* found;
};

// Not finite: x - x is no zero. The sum of zeros is what the loop leaves, so that it stays free of branches.
template <class T>
void unscale_piece(T* const* x, int64_t n, const void* attrs) {
  const auto& a = *static_cast<const Unscale*>(attrs);
  const T factor = static_cast<T>(a.factor);
  T* __restrict g = x[0];
  constexpr int64_t kLanes = 16;
  T zeros[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) {
      zeros[k] += g[i + k] - g[i + k];
      g[i + k] *= factor;
    }
  for (; i < n; ++i) {
    zeros[0] += g[i] - g[i];
    g[i] *= factor;
  }
  bool finite = true;
  for (T z : zeros) finite = finite && z == T(0);
  if (!finite) a.found->store(true, std::memory_order_relaxed);
}

}  // namespace

void unscale(const OpCall& c) {
  std::atomic<bool> found{false};
  const Unscale a{c.as<UnscaleOp::Attrs>().factor, &found};
  OpCall gradients = c;
  --gradients.n_in;
  update_all(gradients, 1, &unscale_piece<float>, &unscale_piece<double>, &a);
  if (found) *static_cast<float*>(c.in[c.n_in - 1].data_ptr()) = 1;
}

void sgd_step(const OpCall& c) {
  update_all(c, c.as<SgdStepOp::Attrs>().momentum != 0 ? 3 : 2, &sgd_update<float>, &sgd_update<double>, c.attrs);
}
void adam_step(const OpCall& c) {
  update_all(c, c.as<AdamStepOp::Attrs>().amsgrad ? 5 : 4, &adam_update<float>, &adam_update<double>, c.attrs);
}

}  // namespace weft::cpu
