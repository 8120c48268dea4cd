// Convolution, pooling and batch norm as ops: layouts, errors, gradients of gradients.
#include <cmath>
#include <functional>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/batch_norm.h"
#include "core/ops/conv.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/pool.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/device.h"

using namespace weft;

namespace {

Tensor random(const Dims& sizes, double scale = 1) {
  return empty(sizes, {.dtype = DType::f64}).uniform_(-scale, scale);
}

// The derivative of f at x along v against the central difference.
void check_derivative(const std::function<Tensor(const Tensor&)>& f, const Tensor& x, double tolerance) {
  const Tensor v = random(x.sizes());
  const Tensor leaf = x.detach().clone().set_requires_grad(true);
  const double slope = grad({f(leaf)}, {leaf})[0].mul(v).sum().item<double>();
  const double step = 1e-5;
  const double up = f(x.add(v.mul(step)).detach().set_requires_grad(true)).item<double>();
  const double down = f(x.sub(v.mul(step)).detach().set_requires_grad(true)).item<double>();
  CHECK(slope == Approx((up - down) / (2 * step)).epsilon(tolerance).margin(tolerance));
}

// First and second derivatives of a function of one tensor.
void check_function(const std::function<Tensor(const Tensor&)>& f, const Dims& sizes) {
  manual_seed(3);
  const Tensor x = random(sizes);
  Tensor weights;
  {
    NoGrad guard;
    weights = random(f(x).sizes());
  }
  const auto scalar = [&](const Tensor& t) { return f(t).mul(weights).sum(); };
  check_derivative(scalar, x, 1e-6);
  const auto gradient_norm = [&](const Tensor& t) {
    const Tensor g = grad({scalar(t).square()}, {t}, {.create_graph = true})[0];
    return g.square().sum();
  };
  check_derivative(gradient_norm, x, 1e-5);
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("first and second derivatives of the ops over images") {
  manual_seed(1);
  const Tensor w = random({4, 2, 3, 2}), b = random({4}), wt = random({4, 3, 2, 3}), x4 = random({2, 4, 5, 6});
  const ConvOptions conv{.stride = {2, 1}, .padding = 1, .dilation = {1, 2}, .groups = 2};
  check_function([&](const Tensor& t) { return conv2d(t, w, b, conv); }, {2, 4, 5, 6});
  check_function([&](const Tensor& t) { return conv2d(x4, t, b, conv); }, {4, 2, 3, 2});
  check_function([&](const Tensor& t) { return conv2d(x4, w, t, conv); }, {4});
  check_function(
      [&](const Tensor& t) { return conv_transpose2d(t, wt, {}, {.stride = 2, .padding = 1, .output_padding = 1}); },
      {2, 4, 3, 4});
  check_function([&](const Tensor& t) { return conv_transpose2d(x4, t, b.slice(0, 0, 3), {.stride = 2}); },
                 {4, 3, 2, 3});
  check_function([&](const Tensor& t) { return conv1d(t, t.slice(0, 0, 1).slice(2, 0, 3), {}, {.padding = "same"}); },
                 {2, 3, 7});
  check_function([&](const Tensor& t) { return max_pool2d(t, 3, {.stride = 2, .padding = 1}); }, {2, 3, 5, 6});
  check_function(
      [&](const Tensor& t) {
        return avg_pool2d(t, {3, 2}, {.padding = 1, .ceil_mode = true, .count_include_pad = false});
      },
      {2, 3, 5, 6});
  check_function([&](const Tensor& t) { return adaptive_avg_pool2d(t, {3, kInputSize}); }, {2, 3, 5, 4});
  for (const bool training : {true, false}) {
    const Tensor mean = random({3}), var = random({3}).abs().add(0.5), weight = random({3}), bias = random({3}),
                 x = random({4, 3, 5});
    const BatchNormOptions o{.weight = weight, .bias = bias, .training = training};
    check_function([&](const Tensor& t) { return batch_norm(t, mean.clone(), var.clone(), o); }, {4, 3, 5});
    check_function(
        [&](const Tensor& t) {
          return batch_norm(x, mean.clone(), var.clone(), {.weight = t, .bias = t, .training = training});
        },
        {3});
  }
  check_function([&](const Tensor& t) { return instance_norm(t, {}, {}, {.weight = b}); }, {2, 4, 6});
}

TEST_CASE("images in channels-last give the same bits, in channels-last") {
  manual_seed(2);
  const auto last = [](const Tensor& t) { return t.to(MemoryFormat::channels_last); };
  const Tensor x = empty({3, 16, 9, 8}).normal_(), w = empty({20, 16, 3, 3}).normal_();
  const auto same = [&](const std::function<Tensor(const Tensor&)>& f, bool gradient_bits = true) {
    Tensor plain = x.clone().set_requires_grad(true), nhwc = last(x).set_requires_grad(true);
    const Tensor a = f(plain), b = f(nhwc);
    CHECK(a.is_contiguous());
    CHECK(b.is_contiguous(MemoryFormat::channels_last));
    CHECK_FALSE(b.is_contiguous());
    CHECK(equal(a, b));
    const Tensor g = empty(a.sizes()).normal_();
    const Tensor ga = grad({a}, {plain}, {.grad_outputs = {g}})[0], gb = grad({b}, {nhwc}, {.grad_outputs = {g}})[0];
    CHECK(gb.is_contiguous(MemoryFormat::channels_last));
    if (gradient_bits)
      CHECK(equal(ga, gb));
    else
      CHECK(allclose(ga, gb, 1e-5, 1e-5));
  };
  same([&](const Tensor& t) { return conv2d(t, w, {}, {.stride = 2, .padding = 1}); });
  same([&](const Tensor& t) { return max_pool2d(t, 2); });
  same([&](const Tensor& t) { return avg_pool2d(t, 3, {.stride = 1, .padding = 1}); });
  same([&](const Tensor& t) { return adaptive_avg_pool2d(t, 4); });
  // The sums of batch norm follow the memory: equal only within rounding.
  const Tensor y = batch_norm(x, {}, {}, {.training = true}), z = batch_norm(last(x), {}, {}, {.training = true});
  CHECK(z.is_contiguous(MemoryFormat::channels_last));
  CHECK(allclose(y, z, 1e-5, 1e-6));
  CHECK(conv2d(x, last(w)).is_contiguous(MemoryFormat::channels_last));
}

TEST_CASE("batch norm updates its running statistics in training alone") {
  const Tensor x = tensor({1., 2., 3., 6.}).view({4, 1}).to(DType::f64);
  const Tensor mean = zeros({1}, {.dtype = DType::f64}), var = ones({1}, {.dtype = DType::f64});
  const uint32_t version = mean.version();
  batch_norm(x, mean, var, {.training = true, .momentum = 0.5});
  CHECK(mean.item<double>() == Approx(1.5));
  CHECK(var.item<double>() == Approx(0.5 + 0.5 * 14.0 / 3));
  CHECK(mean.version() > version);
  const Tensor y = batch_norm(x, mean, var, {.eps = 0});
  CHECK(mean.item<double>() == Approx(1.5));
  CHECK(y.slice(0, 3).item<double>() == Approx(4.5 / std::sqrt(0.5 + 7.0 / 3)));
}

TEST_CASE("bits of batch norm do not depend on the number of threads") {
  manual_seed(4);
  const int before = num_threads();
  for (const MemoryFormat format : {MemoryFormat::contiguous, MemoryFormat::channels_last}) {
    const Tensor x = empty({8, 20, 17, 13}).normal_().to(format);
    std::vector<Tensor> results[2];
    for (int i = 0; i < 2; ++i) {
      set_num_threads(i == 0 ? 1 : 4);
      const Tensor leaf = x.clone().set_requires_grad(true);
      const Tensor y = batch_norm(leaf, {}, {}, {.training = true});
      results[i] = {y, grad({y.square().mul(y).sum()}, {leaf})[0]};
    }
    CHECK(equal(results[0][0], results[1][0]));
    CHECK(equal(results[0][1], results[1][1]));
  }
  set_num_threads(before);
}

TEST_CASE("wrong arguments of the ops over images are explained") {
  const Tensor x = zeros({8, 4, 32, 32}), w = zeros({64, 3, 3, 3});
  CHECK(error_of([&] { conv2d(x, w); }) ==
        test::here(
            "conv2d: weight expects 3 input channels, x has 4 (x [8, 4, 32, 32] f32 cpu, weight [64, 3, 3, 3] f32 cpu, "
            "groups 1); "
            "permute x to NC... or rebuild the layer"));
  CHECK(error_of([&] {
          conv2d(x, zeros({64, 4, 3, 3}), {}, {.stride = 0});
        }) == "conv2d: stride must be positive, got [0]");
  CHECK(error_of([&] {
          conv2d(x, zeros({64, 4, 3, 3}), {}, {.stride = 2, .padding = "same"});
        }) == "conv2d: padding \"same\" needs stride 1, got [2]");
  CHECK(error_of([&] {
          conv2d(x, zeros({64, 4, 3, 3}), {}, {.padding = "full"});
        }) == "conv2d: padding must be numbers, \"same\" or \"valid\", got \"full\"");
  CHECK(error_of([&] {
          conv2d(x, zeros({64, 4, 40, 3}));
        }).rfind("conv2d: kernel 40 (dilated: 40) is larger than the padded input 32", 0) == 0);
  CHECK(error_of([&] {
          conv2d(x, zeros({64, 4, 3, 3}, {.dtype = DType::f64}));
        }).rfind(test::here("conv2d: x [8, 4, 32, 32] f32 cpu and weight"), 0) == 0);
  CHECK(error_of([&] { conv2d(x, zeros({64, 4, 3, 3}), zeros({3})); }).rfind("conv2d: bias must be [64]", 0) == 0);
  CHECK(error_of([&] { max_pool2d(x, 2, {.padding = 2}); }).rfind("max_pool2d: padding must be at most half", 0) == 0);
  CHECK(error_of([&] { avg_pool2d(x, 40); }).rfind("avg_pool2d: the output would be empty", 0) == 0);
  CHECK(error_of([&] {
          adaptive_avg_pool2d(x, {1, 2, 3});
        }) == "adaptive_avg_pool2d: output_size needs 1 or 2 values, got [1, 2, 3]");
  CHECK(error_of([&] { batch_norm(x, {}, {}); }).rfind("batch_norm: without statistics of x", 0) == 0);
  CHECK(error_of([&] {
          batch_norm(zeros({1, 4}), {}, {}, {.training = true});
        }).rfind("batch_norm: training needs more than one value", 0) == 0);
}

TEST_CASE("empty batches pass through the ops over images") {
  const Tensor x = zeros({0, 4, 8, 8}).set_requires_grad(true), w = zeros({6, 4, 3, 3}).set_requires_grad(true);
  const Tensor y = max_pool2d(conv2d(x, w), 2);
  CHECK(y.sizes() == Dims{0, 6, 3, 3});
  const auto g = grad({y.sum()}, {x, w});
  CHECK(g[0].sizes() == x.sizes());
  CHECK(equal(g[1], zeros({6, 4, 3, 3})));
}
