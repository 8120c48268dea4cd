// The same records eager: any layout, bf16, gradients and their gradients.
#include "tests/slice/eager.h"

#include "autograd/autograd.h"
#include "core/half.h"
#include "tests/catch.h"
#include "tests/slice/program.h"
#include "tests/slice/values.h"

namespace {

using namespace weft;

constexpr double kAlpha = 0.25;
constexpr int64_t kRows = 137, kColumns = 211;

template <class T>
std::vector<T> read(const Tensor& t) {
  Tensor c = t.contiguous();
  const T* values = static_cast<const T*>(c.data_ptr());
  return std::vector<T>(values, values + c.numel());
}
template <class T>
Tensor make(const std::vector<T>& values, const Dims& sizes, DType dtype) {
  Tensor t = empty(sizes, {.dtype = dtype});
  std::copy(values.begin(), values.end(), static_cast<T*>(t.data_ptr()));
  return t;
}

template <class T>
void check_layouts(DType dtype) {
  Tensor x = make(slice::test_values<T>(kRows * kColumns, 1, true), {kRows, kColumns}, dtype);
  Tensor w = make(slice::test_values<T>(kRows, 2, true), {kRows, 1}, dtype);
  std::vector<T> expected = read<T>(slice::run_chain(x, w.expand({kRows, kColumns}).contiguous(), kAlpha));
  Tensor transposed = x.t().contiguous().t();
  REQUIRE_FALSE(transposed.is_contiguous());
  CHECK(slice::count_different(expected, read<T>(slice::run_chain(transposed, w, kAlpha))) == 0);
  CHECK(slice::count_different(expected, read<T>(slice::run_chain(x, w.expand({kRows, kColumns}), kAlpha))) == 0);
}

TEST_CASE("strides and broadcasting do not change a bit") {
  check_layouts<float>(DType::f32);
  check_layouts<double>(DType::f64);
}

TEST_CASE("bf16 rounds after every op") {
  const size_t n = 10007;
  std::vector<BFloat16> x, w;
  for (float v : slice::test_values<float>(n, 1, true)) x.push_back(to_bf16(v));
  for (float v : slice::test_values<float>(n, 2, true)) w.push_back(to_bf16(v));
  std::vector<std::vector<float>> values(2);
  for (size_t i = 0; i < n; ++i) values[0].push_back(to_float(x[i])), values[1].push_back(to_float(w[i]));
  const Scalar params[] = {kAlpha};
  for (const slice::Step& s : slice::chain()) {
    std::vector<float> y(n);
    const void* in[] = {values[size_t(s.inputs[0])].data(), values[size_t(s.inputs.back())].data()};
    slice::find_op(s.record).forward.f32(y.data(), in, params, int64_t(n));
    for (float& v : y) v = to_float(to_bf16(v));
    values.push_back(y);
  }
  Tensor result = slice::run_chain(make(x, {int64_t(n)}, DType::bf16), make(w, {int64_t(n)}, DType::bf16), kAlpha);
  std::vector<float> got;
  for (BFloat16 v : read<BFloat16>(result)) got.push_back(to_float(v));
  CHECK(slice::count_different(values.back(), got) == 0);
}

// d/dx of f by central differences.
template <class F>
std::vector<double> differences(const std::vector<double>& x, F f) {
  const double h = 1e-5;
  std::vector<double> low = x, high = x;
  for (size_t i = 0; i < x.size(); ++i) low[i] -= h, high[i] += h;
  std::vector<double> a = f(low), b = f(high), slope;
  for (size_t i = 0; i < x.size(); ++i) slope.push_back((b[i] - a[i]) / (2 * h));
  return slope;
}
void check_close(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  size_t far = 0;
  for (size_t i = 0; i < a.size(); ++i) far += !(std::abs(a[i] - b[i]) <= 1e-6 * (1 + std::abs(a[i])));
  CHECK(far == 0);
}

TEST_CASE("gradients and gradients of gradients are those of the formula") {
  const size_t n = 200;
  std::vector<double> x, w = slice::test_values<double>(n, 2, false);
  for (double v : slice::test_values<double>(n, 1, false))
    x.push_back(1.5 + 0.3 * std::tanh(v));  // away from tanh(..) = 0
  const Dims sizes = {int64_t(n)};
  Tensor tw = make(w, sizes, DType::f64), g = ones(sizes, {.dtype = DType::f64});
  auto value = [&](const std::vector<double>& at) {
    return read<double>(slice::run_chain(make(at, sizes, DType::f64), tw, kAlpha));
  };
  auto gradient_of = [&](const Tensor& at, bool create_graph) {
    Tensor y = slice::run_chain(at, tw, kAlpha);
    return grad({y}, {at}, {.grad_outputs = {g}, .create_graph = create_graph})[0];
  };
  auto gradient = [&](const std::vector<double>& at) {
    Tensor t = make(at, sizes, DType::f64);
    t.set_requires_grad(true);
    return read<double>(gradient_of(t, false));
  };
  check_close(differences(x, value), gradient(x));
  Tensor t = make(x, sizes, DType::f64);
  t.set_requires_grad(true);
  Tensor first = gradient_of(t, true);
  CHECK(slice::count_different(gradient(x), read<double>(first)) == 0);  // create_graph does not change a bit
  check_close(differences(x, gradient), read<double>(grad({first}, {t}, {.grad_outputs = {g}})[0]));
}

}  // namespace
