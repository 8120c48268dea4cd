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
    // By name, too; a list of indices goes with tensors of any device.
    const Tensor rows_of_host = zeros({3, 4}, {.device = "cpu"});
    const Value first = Value::list({Value::list({Value(0), Value(1)})});
    CHECK(call("__getitem__", {rows_of_host, first}).as_tensor().sizes() == Dims{2, 4});
    CHECK(call("to", {rows_of_host}, {{"device", Value("cuda")}}).as_tensor().device() == Device("cuda"));
    const Tensor like = call("ones_like", {rows_of_host}, {{"device", "cuda"}, {"requires_grad", true}}).as_tensor();
    CHECK((like.device() == Device("cuda") && like.requires_grad()));
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

TEST_CASE("a default device: calls that only replay ask which it is, and which device autocast is of") {
  NEED_DEVICES(1);
  const Tensor x = arange(0, 3, 1, {.dtype = DType::f32, .device = "cpu"});
  auto made = compile([](const Tensor& t) { return full({4}, 2.0) * t.sum().to(default_device()); },
                      {.mode = CompileMode::reduce_overhead, .on_fallback = OnFallback::silent, .pure = true});
  auto cast = compile([](const Tensor& t) { return mm(t, t).sum(); },
                      {.mode = CompileMode::reduce_overhead, .on_fallback = OnFallback::silent});
  const Tensor square = randn({4, 4}, {.device = "cpu"});
  {
    const DefaultDevice host("cpu");
    const Autocast guard("cpu");
    for (int i = 0; i < 8; ++i) {
      made(x);
      CHECK(cast(square).dtype() == DType::bf16);
    }
    CHECK(made.stats().direct > 0);
    CHECK(cast.stats().direct > 0);
  }
  const DefaultDevice device("cuda");
  CHECK(made(x).device() == Device("cuda"));
  const Autocast guard("cuda");
  CHECK(cast(square).dtype() == DType::f32);
}

TEST_CASE("a default device that does not exist is an error, and the old one stays") {
  NEED_DEVICES(1);
  const Device before = default_device();
  CHECK(has(message_of([] { DefaultDevice device(Device(DeviceType::cuda, -1)); }), "this machine has"));
  CHECK(has(message_of([] { DefaultDevice device("cuda:99"); }), "DefaultDevice on cuda:99: this machine has"));
  CHECK(default_device() == before);
}

}  // namespace
