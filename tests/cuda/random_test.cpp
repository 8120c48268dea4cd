#include <functional>

#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "tests/cuda/need_device.h"

namespace {

using namespace weft;
using gpu::message_of;

// `make` on the host and on the device, from the same seed: the same bits, and as many numbers taken.
void same_stream(const std::string& what, const std::function<Tensor(Device)>& make) {
  INFO(what);
  manual_seed(17);
  const Tensor host = make(Device("cpu"));
  const auto after = default_generator().get_state();
  manual_seed(17);
  const Tensor device = make(Device("cuda"));
  CHECK(default_generator().get_state() == after);
  CHECK(device.device().is_cuda());
  CHECK(device.dtype() == host.dtype());
  CHECK(device.strides() == host.strides());
  CHECK(equal(device.to("cpu"), host));
}

TEST_CASE("a device draws the host's numbers: fills") {
  NEED_DEVICES(1);
  using Fill = std::function<void(Tensor&)>;
  const std::pair<const char*, Fill> fills[] = {
      {"uniform", [](Tensor& t) { t.uniform_(-2, 3); }},
      {"normal", [](Tensor& t) { t.normal_(1, 2); }},
      {"log_normal", [](Tensor& t) { t.log_normal_(0, 1); }},
      {"exponential", [](Tensor& t) { t.exponential_(0.5); }},
      {"cauchy", [](Tensor& t) { t.cauchy_(1, 2); }},
      {"geometric", [](Tensor& t) { t.geometric_(0.3); }},
      {"bernoulli", [](Tensor& t) { t.bernoulli_(0.3); }},
      {"integers", [](Tensor& t) { t.random_(-7, 90); }},
      {"wide integers", [](Tensor& t) { t.random_(-(int64_t{1} << 40), int64_t{1} << 50); }},
      {"all integers", [](Tensor& t) { t.random_(); }},
  };
  for (const auto& [name, fill] : fills)
    for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
      for (int64_t n : {1, 15, 64, 65, 1000, 5000})
        same_stream(std::string(name) + " " + std::to_string(n), [&](Device d) {
          Tensor t = empty({n}, {.dtype = dtype, .device = d});
          fill(t);
          return t;
        });
  for (DType dtype : {DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::bool_})
    for (int k : {5, 6, 9})
      same_stream(fills[k].first, [&](Device d) {
        Tensor t = empty({777}, {.dtype = dtype, .device = d});
        fills[k].second(t);
        return t;
      });
  same_stream("strided", [](Device d) {
    Tensor t = zeros({6, 5, 8}, {.device = d});
    t.transpose(0, 2).slice(1, 0, 5, 2).normal_();
    return t;
  });
}

TEST_CASE("a device draws the host's numbers: new tensors and parameters") {
  NEED_DEVICES(1);
  same_stream("rand", [](Device d) { return rand({3, 50}, {.device = d}); });
  same_stream("randn", [](Device d) { return randn({3, 50}, {.dtype = DType::f64, .device = d}); });
  same_stream("randint", [](Device d) { return randint(5, {300}, {.device = d}); });
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    same_stream("bernoulli", [&](Device d) { return bernoulli((arange(Scalar(300)).to(dtype) / 300).to(d)); });
  same_stream("poisson", [](Device d) { return poisson((arange(Scalar(400)).to(DType::f32) * 0.25).to(d)); });
  for (int64_t n : {0, 1, 2, 33, 1000, 8192, 20000})
    same_stream("randperm " + std::to_string(n), [&](Device d) { return randperm(n, {.device = d}); });
  for (int64_t k : {1, 7, 300, 3000}) {
    const Tensor weights = remainder(arange(Scalar(2 * k)), 7).to(DType::f32).view({2, k}) + (k < 7 ? 1 : 0);
    for (int64_t samples : {1, 5, 200}) {
      const std::string what = "multinomial " + std::to_string(k) + " " + std::to_string(samples);
      same_stream(what, [&](Device d) { return multinomial(weights.to(d), samples, true); });
      if (samples < k * 6 / 7 || k == 1)
        if (samples <= k) same_stream(what, [&](Device d) { return multinomial(weights.to(d), samples); });
    }
  }
}

TEST_CASE("parameters that are no probabilities are reported with the host's text") {
  NEED_DEVICES(1);
  const std::function<void(Device)> calls[] = {
      [](Device d) {
        bernoulli(tensor({0.5, 1.5}).to(d));
      },
      [](Device d) {
        poisson(tensor({0.5, -0.25}).to(d));
      },
      [](Device d) {
        multinomial(tensor({1.0, -2.5}).to(d), 1);
      },
      [](Device d) {
        multinomial(tensor({0.0, 0.0}).to(d), 1, true);
      },
      [](Device d) {
        multinomial(tensor({0.0, 1.0, 2.0}).to(d), 3);
      },
  };
  for (const auto& call : calls) {
    const std::string host = message_of([&] { call(Device("cpu")); });
    CHECK(host != "no error");
    CHECK(message_of([&] {
            call(Device("cuda"));
            cuda::synchronize();
          }) == host);
  }
}

}  // namespace
