// Built twice: with the kernels that the host compiler made for the emulation, and with those of nvcc.
#if defined(WEFT_CUDA_EMULATE) || defined(WEFT_CUDA_REAL)
#include <chrono>
#include <cstdio>
#include <string_view>

#include "core/half.h"
#include "core/ops/activation.h"
#include "core/ops/arithmetic.h"
#include "core/ops/softmax_row.h"
#include "core/ops/transcendental.h"
#include "kernels/cuda/softmax.h"
#include "tests/catch.h"
#include "tests/slice/device_array.h"
#include "tests/slice/ten_records.h"
#include "tests/slice/values.h"

namespace {

using namespace weft;
using math::i64;
using slice::DeviceArray;

#ifdef WEFT_CUDA_EMULATE
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

// False, with a line that says so, on a machine without a GPU.
bool can_run() {
#ifdef WEFT_CUDA_EMULATE
  return true;
#else
  int devices = 0;
  cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices > 0) return true;
  std::printf("skipped: nvcc built and linked the kernels; no GPU to run them (%s)\n", cudaGetErrorString(status));
  return false;
#endif
}

// Runs `body` with three orders of the threads and two poisons.
template <class F>
void in_all_orders(F body) {
  if (!can_run()) return;
#ifdef WEFT_CUDA_EMULATE
  cuda::emulate::Settings before = cuda::emulate::settings();
  for (uint64_t seed : {1, 2, 3})
    for (unsigned char poison : {0xff, 0x5a}) {
      cuda::emulate::settings() = {seed, poison};
      INFO("seed " << seed << ", poison " << int(poison));
      body();
    }
  cuda::emulate::settings() = before;
#else
  body();
#endif
}

float value(float x) { return x; }
template <class S>
float value(S x) {
  return to_float(x);
}
template <class S>
S stored(float x);
template <>
float stored(float x) {
  return x;
}
template <>
BFloat16 stored(float x) {
  return to_bf16(x);
}
template <>
Half stored(float x) {
  return to_f16(x);
}
template <class S>
constexpr DType kDType = DType::f32;
template <>
constexpr DType kDType<BFloat16> = DType::bf16;
template <>
constexpr DType kDType<Half> = DType::f16;

template <class S>
std::vector<S> stored(const std::vector<float>& x) {
  std::vector<S> y;
  for (float v : x) y.push_back(stored<S>(v));
  return y;
}

// Results that differ by more than `ulps` units of the last place of S. NaN equals NaN.
template <class S>
size_t count_wrong(const std::vector<S>& expected, const std::vector<S>& got, int ulps) {
  size_t wrong = expected.size() == got.size() ? 0 : 1;
  for (size_t i = 0; i < expected.size() && i < got.size(); ++i) {
    float a = value(expected[i]), b = value(got[i]);
    if (slice::same(a, b)) continue;
    float unit = std::max(std::abs(a), 0x1p-126f) * (std::is_same_v<S, float> ? 0x1p-23f : 0x1p-7f);
    wrong += !(std::abs(a - b) <= float(ulps) * unit);
  }
  return wrong;
}

// Which value the record reads: g, a, b, y of the CPU, one element at a time.
template <class Op>
struct Cpu {
  static float forward(const float* x, float p) {
    if constexpr (Op::arity == 1)
      return Op::forward(x[0]);
    else if constexpr (Op::params == 1)
      return Op::forward(x[0], x[1], p);
    else
      return Op::forward(x[0], x[1]);
  }
  static float backward(int which, float g, const float* x, float y, float p) {
    if constexpr (Op::arity == 1)
      return Op::backward(g, x[0], y);
    else if constexpr (Op::params == 1)
      return which == 0 ? Op::backward_a(g, x[0], x[1], y, p) : Op::backward_b(g, x[0], x[1], y, p);
    else
      return which == 0 ? Op::backward_a(g, x[0], x[1], y) : Op::backward_b(g, x[0], x[1], y);
  }
};

const cuda::PointwiseEntry& record(std::string_view name) {
  for (const cuda::PointwiseEntry& e : slice::ten_records())
    if (e.name == name) return e;
  throw std::runtime_error("no such record");
}

template <class S>
cuda::Operand dense(const DeviceArray<S>& array) {
  return {array.data(), {1}, kDType<S>};
}

template <class Op, class S>
void check_dense(std::string_view name, int ulps) {
  const float alpha = 0.75f;
  for (size_t n : {size_t(1), size_t(7), size_t(1003), size_t(40000)}) {
    std::vector<S> a = stored<S>(slice::test_values<float>(n, 1, true)),
                   b = stored<S>(slice::test_values<float>(n, 2, true)),
                   g = stored<S>(slice::test_values<float>(n, 3, false)), y, grad[2];
    for (size_t i = 0; i < n; ++i) {
      float x[2] = {value(a[i]), value(b[i])};
      y.push_back(stored<S>(Cpu<Op>::forward(x, alpha)));
      for (int which = 0; which < Op::arity; ++which)
        grad[which].push_back(stored<S>(Cpu<Op>::backward(which, value(g[i]), x, value(y[i]), alpha)));
    }
    DeviceArray<S> device_a(a), device_b(b), device_g(g), device_y(y), out(n);
    INFO(name << " " << weft::name(kDType<S>) << " n = " << n);
    cuda::PointwiseCall call{};
    call.dims = 1;
    call.sizes[0] = int64_t(n);
    call.params[0] = alpha;
    call.operands[0] = dense(device_a);
    call.operands[1] = dense(Op::arity == 2 ? device_b : out);
    call.operands[2] = dense(out);
    record(name).forward(call, nullptr);
    CHECK(count_wrong(y, out.read(), ulps) == 0);
    for (int which = 0; which < Op::arity; ++which) {
      const DeviceArray<S>* sources[] = {&device_a, &device_b, &device_y};
      const unsigned bits[] = {ops::kA, ops::kB, ops::kY};
      int used = 0;
      call.operands[used++] = dense(device_g);
      for (int s = 0; s < 3; ++s)
        if (Op::needs[which] & bits[s]) call.operands[used++] = dense(*sources[s]);
      call.operands[used] = dense(out);
      record(name).backward[which](call, nullptr);
      CHECK(count_wrong(grad[which], out.read(), ulps) == 0);
    }
  }
}

template <class Op>
void check_record(std::string_view name, bool exact) {
  int ulps = exact || kEmulated ? 0 : 4;
  check_dense<Op, float>(name, ulps);
  check_dense<Op, BFloat16>(name, exact || kEmulated ? 0 : 1);
}

TEST_CASE("pointwise kernels: contiguous f32 and bf16, forward and gradients") {
  in_all_orders([] {
    check_record<ops::Add>("add", true);
    check_record<ops::Sub>("sub", true);
    check_record<ops::Mul>("mul", true);
    check_record<ops::Div>("div", true);
    check_record<ops::Relu>("relu", true);
    check_record<ops::Exp>("exp", false);
    check_record<ops::Log>("log", false);
    check_record<ops::Tanh>("tanh", false);
    check_record<ops::Sigmoid>("sigmoid", false);
    check_record<ops::GeluTanh>("gelu_tanh", false);
  });
}

TEST_CASE("pointwise kernels: any strides and mixed dtypes") {
  // out[i, j] = x[j, i] + 0.75 * b[j] with x f32 transposed, b bf16 broadcast, out f16 with gaps
  constexpr size_t kRows = 37, kColumns = 53;
  std::vector<float> x = slice::test_values<float>(kRows * kColumns, 1, true);
  std::vector<BFloat16> b = stored<BFloat16>(slice::test_values<float>(kColumns, 2, true));
  std::vector<Half> expected(kRows * kColumns * 2, Half{0x1234});
  for (size_t i = 0; i < kRows; ++i)
    for (size_t j = 0; j < kColumns; ++j)
      expected[(i * kColumns + j) * 2] = to_f16(ops::Add::forward(x[j * kRows + i], to_float(b[j]), 0.75f));
  in_all_orders([&] {
    DeviceArray<float> device_x(x);
    DeviceArray<BFloat16> device_b(b);
    DeviceArray<Half> out(std::vector<Half>(kRows * kColumns * 2, Half{0x1234}));
    cuda::PointwiseCall call{{{device_x.data(), {1, kRows}, DType::f32},
                              {device_b.data(), {0, 1}, DType::bf16},
                              {out.data(), {2 * kColumns, 2}, DType::f16}},
                             {kRows, kColumns},
                             2,
                             {0.75f}};
    record("add").forward(call, nullptr);
    CHECK(count_wrong(expected, out.read(), 0) == 0);
  });
}

// Row r of x [rows, n]: ordinary values, but for the first rows: -inf alone, a NaN, and one infinity.
std::vector<float> softmax_input(size_t rows, size_t n) {
  std::vector<float> x = slice::test_values<float>(rows * n, unsigned(n), false);
  for (size_t i = 0; i < n; ++i) x[i] = -INFINITY;
  if (rows > 1) x[n + n / 2] = NAN;
  if (rows > 2) x[2 * n] = -INFINITY;
  return x;
}

template <class S>
void check_softmax(size_t rows, size_t n) {
  std::vector<S> x = stored<S>(softmax_input(rows, n)), expected;
  std::vector<float> row(n);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < n; ++i) row[i] = value(x[r * n + i]);
    softmax_order::forward_row(i64(n), row.data(), row.data());
    for (float v : row) expected.push_back(stored<S>(v));
  }
  INFO("softmax " << weft::name(kDType<S>) << " [" << rows << ", " << n << "]");
  DeviceArray<S> device_x(x), y(rows * n);
  cuda::softmax(device_x.data(), y.data(), int64_t(rows), int64_t(n), kDType<S>, nullptr);
  CHECK(count_wrong(expected, y.read(), kEmulated ? 0 : 8) == 0);
}

TEST_CASE("softmax: a warp a row, a block a row with and without staging, in the order of the CPU") {
  in_all_orders([] {
    check_softmax<float>(19, 1);
    check_softmax<float>(19, 33);
    check_softmax<BFloat16>(19, 500);
    check_softmax<float>(9, 1024);
    check_softmax<float>(4, 1025);
    check_softmax<BFloat16>(3, 5000);
    check_softmax<float>(3, 13000);
    check_softmax<Half>(3, 40000);
  });
}

TEST_CASE("softmax of 1000 rows of 1000") {
  if (!can_run()) return;
  DeviceArray<float> x(softmax_input(1000, 1000)), y(1000 * 1000);
  auto start = std::chrono::steady_clock::now();
  cuda::softmax(x.data(), y.data(), 1000, 1000, DType::f32, nullptr);
  float first = y.read()[999999];
  double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  std::printf("softmax f32 [1000, 1000], %s: %.1f ms\n", kEmulated ? "emulated" : "device", ms);
  CHECK(first >= 0.0f);
}

}  // namespace
#endif
