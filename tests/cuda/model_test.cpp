// Whole models on a device: training as on the CPU, compiled as eager, files and gradients across devices.
#include <filesystem>

#include "tests/cuda/need_device.h"
#include "weft.h"

namespace {

using namespace weft;

struct Net : nn::Module {
  nn::Linear up{*this, "up", 6, 32}, down{*this, "down", 32, 4};
  Tensor operator()(const Tensor& x) { return down(gelu(up(x))); }
};

Tensor inputs() {
  manual_seed(3);
  return randn({16, 6});
}
Tensor classes() { return arange(16).remainder(4); }

template <class Optimizer, class Options>
std::vector<double> train(Device device, const Options& options, bool compiled) {
  manual_seed(1);
  Net net;
  net.to(device);
  Optimizer optimizer(net.parameters(), options);
  Tensor x = inputs().to(device), y = classes().to(device);
  auto step = [&](const Tensor& a, const Tensor& b) {
    optimizer.zero_grad();
    Tensor loss = cross_entropy(net(a), b);
    loss.backward();
    nn::utils::clip_grad_norm_(net.parameters(), 1.0);
    optimizer.step();
    return loss.detach();
  };
  auto fast = compile(step);
  std::vector<double> losses;
  for (int i = 0; i < 12; ++i) losses.push_back((compiled ? fast(x, y) : step(x, y)).template item<double>());
  return losses;
}

TEST_CASE("training on a device follows the CPU, and compiled functions give eager's bits") {
  NEED_DEVICES(1);
  const optim::AdamWOptions adamw{.lr = 1e-2};
  const optim::SGDOptions sgd{.lr = 0.1, .momentum = 0.9};
  const auto host = train<optim::AdamW>("cpu", adamw, false), device = train<optim::AdamW>("cuda", adamw, false);
  for (size_t i = 0; i < host.size(); ++i) CHECK(device[i] == Approx(host[i]).epsilon(1e-4));
  CHECK(host.back() < host.front());
  CHECK(train<optim::AdamW>("cuda", adamw, true) == device);
  const auto momentum = train<optim::SGD>("cuda", sgd, false);
  CHECK(train<optim::SGD>("cuda", sgd, true) == momentum);
  CHECK(train<optim::SGD>("cpu", sgd, false).back() == Approx(momentum.back()).epsilon(1e-3));
}

TEST_CASE("a GradScaler on a device unscales, skips and steps as on the CPU; checkpoint gives the plain gradients") {
  NEED_DEVICES(1);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    manual_seed(2);
    std::vector<Tensor> host = {randn({40000}), randn({3, 5}), randn({7})}, device;
    for (Tensor& p : host) {
      p = p.to(dtype).set_requires_grad(true);
      device.push_back(p.detach().to("cuda").set_requires_grad(true));
    }
    optim::SGD a(host, {.lr = 0.1}), b(device, {.lr = 0.1});
    optim::GradScaler one({.init_scale = 4}), two({.init_scale = 4});
    for (int step = 0; step < 3; ++step) {
      const auto run = [&](std::vector<Tensor>& parameters, optim::SGD& o, optim::GradScaler& scaler) {
        o.zero_grad();
        Tensor loss = parameters[0].sin().sum() + parameters[1].square().sum() + parameters[2].exp().sum();
        scaler.scale(loss).backward();
        if (step == 1) parameters[0].grad().select(0, 39999).fill_(std::numeric_limits<double>::quiet_NaN());
        const optim::StepResult result = scaler.step(o);
        scaler.update();
        return result.skipped;
      };
      CHECK(run(host, a, one) == (step == 1));
      CHECK(run(device, b, two) == (step == 1));
      CHECK(one.get_scale() == two.get_scale());
      const double tolerance = dtype == DType::bf16 ? 0.02 : 1e-5;
      for (size_t i = 0; i < host.size(); ++i) CHECK(allclose(device[i].cpu(), host[i], tolerance, tolerance));
    }
  }
  Net net;
  net.to("cuda");
  const Tensor x = inputs().to("cuda").set_requires_grad(true);
  const auto gradient = [&](bool on) {
    manual_seed(4);
    const auto part = [&](const Tensor& t) { return dropout(net(t), 0.5); };
    return grad({(on ? checkpoint(part, x) : part(x)).square().sum()}, {x})[0];
  };
  CHECK(equal(gradient(true), gradient(false)));
}

TEST_CASE("a gradient arrives on the device of its leaf") {
  NEED_DEVICES(1);
  Tensor leaf = ones({3}).set_requires_grad(true);
  (leaf.to("cuda") * 2.0).sum().backward();
  CHECK(leaf.grad().device() == Device("cpu"));
  CHECK(equal(leaf.grad(), full({3}, 2.0)));
}

TEST_CASE("parts of one tensor give it one gradient") {
  NEED_DEVICES(1);
  Tensor x = arange(12).to(DType::f32).view({2, 6}).to("cuda").set_requires_grad(true);
  const auto parts = x.split(2, 1);
  (parts[0] * parts[2]).sum().backward();  // parts[1] is not used
  CHECK(equal(x.grad().cpu(), tensor({4, 5, 0, 0, 0, 1, 10, 11, 0, 0, 6, 7}).view({2, 6})));
}

TEST_CASE("files hold tensors of a device, and load where they are wanted") {
  NEED_DEVICES(1);
  Net net;
  net.to("cuda");
  const std::string path = (std::filesystem::temp_directory_path() / "weft_cuda_model_test.pt").string();
  save(path, {{"model", net.state_dict()}});
  Net again;
  again.load_state_dict(load(path)["model"].as_state_dict());
  CHECK(equal(again.up.weight, net.up.weight.cpu()));
  const Value placed = load(path, {.device = "cuda", .dtype = DType::bf16});
  const Tensor weight = placed["model"]["up.weight"].as_tensor();
  CHECK(weight.device() == Device("cuda"));
  CHECK(equal(weight.cpu(), net.up.weight.cpu().to(DType::bf16)));
  // An asynchronous save holds what was there at the call, although the device goes on.
  const Tensor before = net.up.weight.detach().cpu();
  AsyncSaver saver;
  saver.save(path, {{"model", net.state_dict()}});
  {
    NoGrad guard;
    net.up.weight.fill_(7);
  }
  saver.wait();
  CHECK(equal(load(path)["model"]["up.weight"].as_tensor(), before));
  std::filesystem::remove(path);
  net.load_state_dict(again.state_dict());
  Net there;
  there.to("cuda");
  there.load_state_dict(again.state_dict());
  CHECK(there.up.weight.device() == Device("cuda"));
  CHECK(equal(there.up.weight, net.up.weight));
}

TEST_CASE("what a device tensor cannot do is one clear error") {
  NEED_DEVICES(1);
  Tensor x = ones({2}, {.device = "cuda"});
  using gpu::has, gpu::message_of;
  CHECK(has(message_of([&] { x.data<float>(); }), "the host cannot read [2] f32 cuda:0; copy it with .to(\"cpu\")"));
  CHECK(has(message_of([&] { x + ones({2}); }), "add: tensors on different devices"));
  CHECK(has(message_of([&] { matmul(x, ones({2})); }), "different devices"));
  CHECK((x + 1).device() == x.device());
  CHECK((x + scalar_tensor(2.0)).device() == x.device());
  CHECK(x.str() == "tensor([1., 1.], device='cuda:0')");
}

}  // namespace
