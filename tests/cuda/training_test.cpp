#include <functional>
#include <limits>

#include "autograd/autograd.h"
#include "core/device_backend.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/pool.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "nn/clip.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/cuda/need_device.h"

// Optimizers and pooling give the host's bits on a device.
namespace {

using namespace weft;

bool same(const Tensor& device, const Tensor& host) {
  return device.strides() == host.strides() && equal(device.detach().to("cpu"), host.detach());
}

// Parameters of many sizes and dtypes, one of them not aligned to 16 bytes, with gradients.
std::vector<Tensor> parameters(Device device, int64_t count) {
  std::vector<Tensor> all;
  Generator generator(5);
  for (int64_t i = 0; i < count; ++i) {
    const DType dtypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};
    const TensorOptions o{.dtype = dtypes[i % 4]};
    const int64_t n = i == 5 ? 9000 : 1 + i * 37 % 400;
    Tensor p = randn({n + 1}, o, &generator).to(device).slice(0, i % 3 == 0 ? 1 : 0, n),
           g = randn({p.numel()}, o, &generator);
    p = p.detach();
    p.set_requires_grad(true);
    p.set_grad(g.to(device));
    all.push_back(p);
  }
  return all;
}

template <class Optimizer, class Options>
void same_updates(const Options& options, int64_t count, uint64_t most_launches) {
  std::vector<Tensor> host = parameters("cpu", count), device = parameters("cuda", count);
  Optimizer on_host(host, options), on_device(device, options);
  for (int step = 0; step < 3; ++step) {
    on_host.step();
    const uint64_t before = detail::cuda_backend()->launches();
    on_device.step();
    if (step > 0) CHECK(detail::cuda_backend()->launches() - before <= most_launches);
  }
  for (size_t i = 0; i < host.size(); ++i) CHECK(equal(device[i].detach().to("cpu"), host[i].detach()));
}

TEST_CASE("optimizers on a device: the host's bits, a few launches for hundreds of parameters") {
  NEED_DEVICES(1);
  for (int64_t count : {13, 300}) {
    same_updates<optim::SGD>(optim::SGDOptions{.lr = 0.1, .weight_decay = 0.01}, count, 4);
    same_updates<optim::SGD>(optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true}, count, 4);
    same_updates<optim::Adam>(optim::AdamOptions{.lr = 0.1, .weight_decay = 0.01, .amsgrad = true}, count, 4);
    same_updates<optim::AdamW>(optim::AdamWOptions{.lr = 0.1, .weight_decay = 0.01}, count, 4);
  }
}

// Gradients scaled by `factor`, one of a long tensor, one of a single element, one of none, one that is transposed.
std::vector<Tensor> with_gradients(Device device, int64_t count, double factor) {
  std::vector<Tensor> all = parameters("cpu", count);
  Generator generator(6);
  const TensorOptions f32{.dtype = DType::f32};
  for (Tensor g : {randn({70000}, f32, &generator), randn({1}, f32, &generator), zeros({0}, f32),
                   randn({40, 30}, f32, &generator).t()}) {
    Tensor p = empty_like(g);
    p.set_requires_grad(true);
    p.set_grad(g);
    all.push_back(p);
  }
  for (Tensor& p : all) {
    Tensor g = p.grad().mul(factor);
    p = p.detach().to(device).set_requires_grad(true);
    p.set_grad(g.to(device));
  }
  return all;
}

TEST_CASE("clipping of gradients on a device: the host's bits, a few launches for hundreds, nothing read back") {
  NEED_DEVICES(1);
  const auto launches = [] { return detail::cuda_backend()->launches(); };
  for (int64_t count : {9, 1100})
    for (double factor : {1e-4, 1.0}) {
      const std::vector<Tensor> host = with_gradients("cpu", count, factor),
                                device = with_gradients("cuda", count, factor);
      const uint64_t before = launches();
      const Tensor norm = nn::utils::clip_grad_norm_(device, 2.0);
      CHECK(launches() - before <= (count == 9 ? 11 : 20));
      CHECK(same(norm, nn::utils::clip_grad_norm_(host, 2.0)));
      for (size_t i = 0; i < host.size(); ++i) CHECK(same(device[i].grad(), host[i].grad()));
    }
  // One dtype: its norm has it, and so has every step to the factor.
  for (DType dtype : {DType::bf16, DType::f64, DType::f32}) {
    Generator generator(7);
    std::vector<Tensor> host, device;
    for (int64_t n : {1, 40, 3000}) {
      Tensor g = randn({n}, {.dtype = DType::f64}, &generator).to(dtype), p = zeros_like(g), d = p.to("cuda");
      p.set_requires_grad(true);
      d.set_requires_grad(true);
      p.set_grad(g);
      d.set_grad(g.to("cuda"));
      host.push_back(p);
      device.push_back(d);
    }
    for (double p : {2.0, 1.0, std::numeric_limits<double>::infinity()}) {
      CHECK(same(nn::utils::clip_grad_norm_(device, 0.5, {.norm_type = p}),
                 nn::utils::clip_grad_norm_(host, 0.5, {.norm_type = p})));
      for (size_t i = 0; i < host.size(); ++i) CHECK(same(device[i].grad(), host[i].grad()));
    }
    // The same gradient twice is scaled twice, as on the host.
    device.push_back(device[2]);
    host.push_back(host[2]);
    nn::utils::clip_grad_norm_(device, 0.1);
    nn::utils::clip_grad_norm_(host, 0.1);
    CHECK(same(device[2].grad(), host[2].grad()));
    device[0].grad().fill_(std::numeric_limits<double>::quiet_NaN());
    CHECK(gpu::has(gpu::message_of([&] { nn::utils::clip_grad_norm_(device, 1.0, {.error_if_nonfinite = true}); }),
                   "get_total_norm"));
  }
}

TEST_CASE("parameters on the host and on a device in one optimizer") {
  NEED_DEVICES(1);
  std::vector<Tensor> mixed = parameters("cpu", 8), host = parameters("cpu", 8), device = parameters("cuda", 8);
  for (size_t i = 0; i < mixed.size(); i += 2) mixed[i] = device[i];
  optim::SGD(mixed, {.lr = 0.5}).step();
  optim::SGD(host, {.lr = 0.5}).step();
  for (size_t i = 0; i < mixed.size(); ++i) CHECK(equal(mixed[i].detach().to("cpu"), host[i].detach()));
}

// `f` of x and, where x is floating, the gradient of a weighted sum.
void same_pool(const Tensor& x, const std::function<Tensor(const Tensor&)>& f) {
  Tensor results[2], gradients[2];
  for (int i = 0; i < 2; ++i) {
    Tensor in = i == 0 ? x.detach() : x.detach().to("cuda");
    REQUIRE(in.strides() == x.strides());
    if (is_floating(x.dtype())) in.set_requires_grad(true);
    const Tensor y = f(in);
    results[i] = y.detach();
    if (!is_floating(x.dtype())) continue;
    Generator generator(3);
    const Tensor g = randn(y.sizes(), {.dtype = DType::f32}, &generator).to(y.dtype());
    y.backward(g.to(in.device()));
    gradients[i] = in.grad();
  }
  CHECK(same(results[1], results[0]));
  if (gradients[0].defined()) CHECK(same(gradients[1], gradients[0]));
}

TEST_CASE("pooling on a device: the host's bits in every layout, forwards and backwards") {
  NEED_DEVICES(1);
  Generator generator(1);
  for (DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::u8})
    for (int64_t channels : {3, 16})
      for (MemoryFormat format : {MemoryFormat::contiguous, MemoryFormat::channels_last}) {
        const Tensor x =
            (randn({2, channels, 9, 11}, {.dtype = DType::f32}, &generator) * 20).to(dtype).contiguous(format);
        same_pool(x, [](const Tensor& t) { return max_pool2d(t, 2); });
        same_pool(x, [](const Tensor& t) {
          return max_pool2d(t, {3, 2}, {.stride = {2, 1}, .padding = 1, .dilation = {2, 1}, .ceil_mode = true});
        });
        same_pool(x, [](const Tensor& t) { return adaptive_max_pool2d(t, {4, 13}); });
        if (!is_floating(dtype) && dtype != DType::i64) continue;
        same_pool(x, [](const Tensor& t) { return avg_pool2d(t, 3, {.stride = 1, .padding = 1}); });
        same_pool(x, [](const Tensor& t) {
          return avg_pool2d(t, {3, 4}, {.stride = 2, .padding = 1, .ceil_mode = true, .count_include_pad = false});
        });
        same_pool(x, [](const Tensor& t) { return adaptive_avg_pool2d(t, {5, 3}); });
      }
  const Tensor volume = randn({2, 4, 5, 6, 7}, {}, &generator), line = randn({4, 50}, {}, &generator);
  for (const Tensor& x : {volume, volume.contiguous(MemoryFormat::channels_last_3d), volume.transpose(2, 4)}) {
    same_pool(x, [](const Tensor& t) { return max_pool3d(t, 3, {.stride = 2, .padding = 1}); });
    same_pool(x, [](const Tensor& t) { return avg_pool3d(t, 2, {.stride = 1}); });
  }
  same_pool(line, [](const Tensor& t) { return max_pool1d(t, 4); });
  same_pool(line, [](const Tensor& t) { return adaptive_avg_pool1d(t, 7); });
}

}  // namespace
