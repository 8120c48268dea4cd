#include <thread>

#include "core/registry.h"
#include "tests/cuda/need_device.h"
#include "weft.h"

// Where tensors are made that name no device.
namespace {

using namespace weft;
using namespace weft::gpu;

struct Net : nn::Module {
  nn::Linear up{*this, "up", 3, 8};
  nn::BatchNorm1d norm{*this, "norm", 8};
  nn::LSTM lstm{*this, "lstm", 8, 4};
  Tensor operator()(const Tensor& x) { return lstm(norm(up(x)).unsqueeze(0)).first.sum(); }
};

TEST_CASE("a default device: tensors and modules are made there, with the host's numbers") {
  NEED_DEVICES(1);
  const DefaultDevice host("cpu");
  manual_seed(3);
  Net on_host;
  const Tensor drawn = randn({5}), order = randperm(9);
  {
    const DefaultDevice device("cuda");
    CHECK(default_device() == Device("cuda"));
    manual_seed(3);
    Net net;
    for (const auto& [name, p] : net.named_parameters()) CHECK(p.device() == Device("cuda"));
    for (const auto& [name, b] : net.named_buffers()) CHECK(b.device() == Device("cuda"));
    CHECK(equal(net.up.weight.cpu(), on_host.up.weight));
    CHECK(equal(randn({5}).cpu(), drawn));
    CHECK(equal(randperm(9).cpu(), order));
    for (const Tensor& t : {tensor({1, 2}), zeros({2}), eye(2), arange(3), linspace(0, 1, 3), full({2}, 1), rand({2}),
                            randint(3, {2}), normal(0, 1, {2}), empty_strided({2}, {1}), scalar_tensor(1),
                            call("ones", {Value(std::vector<int64_t>{3})}).as_tensor()})
      CHECK(t.device() == Device("cuda"));
    optim::AdamW optimizer(net.parameters(), {.lr = 0.1});
    net(randn({6, 3})).backward();
    optimizer.step();
    CHECK(zeros({2}, {.device = "cpu"}).device().is_cpu());
    CHECK(Tensor::wrap(2.0).device().is_cpu());
    float numbers[2] = {1, 2};
    CHECK(from_blob(numbers, {2}, {1}).device().is_cpu());
    std::thread([] { CHECK(default_device().is_cpu()); }).join();  // a setting of its thread
    // Loaders and samplers make host tensors, which .device brings over.
    data::TensorDataset rows(randn({8, 2}, {.device = "cpu"}), arange(0, 8, 1, {.device = "cpu"}));
    data::DataLoader loader(rows, {.batch_size = 4, .shuffle = true});
    for (const auto& [x, y] : loader) CHECK((x.device().is_cpu() && y.device().is_cpu()));
  }
  CHECK(default_device().is_cpu());
}

TEST_CASE("a default device: compiled functions and checkpoints make tensors where the first run did") {
  NEED_DEVICES(1);
  auto f = compile([](const Tensor& x) { return x.to(default_device()) + ones({3}); });
  const Tensor x = arange(0, 3, 1, {.dtype = DType::f32, .device = "cpu"});
  for (const char* name : {"cpu", "cuda", "cpu", "cuda", "cuda"}) {
    const DefaultDevice device(name);
    CHECK(f(x).device() == Device(name));
  }
  Tensor loss, leaf = arange(0, 3, 1, {.dtype = DType::f32, .device = "cuda"}).set_requires_grad(true);
  {
    const DefaultDevice device("cuda");
    loss = checkpoint([](const Tensor& t) { return (t * full({3}, 2.0)).sin(); }, leaf).sum();
  }
  const DefaultDevice host("cpu");
  loss.backward();
  CHECK(allclose(leaf.grad().cpu(), 2.0 * (2.0 * x).cos()));
}

TEST_CASE("a default device that does not exist is an error, and the old one stays") {
  NEED_DEVICES(1);
  const Device before = default_device();
  CHECK(has(message_of([] { DefaultDevice device("cuda:99"); }), "DefaultDevice on cuda:99: this machine has"));
  CHECK(default_device() == before);
}

}  // namespace
