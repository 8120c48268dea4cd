#include "autograd/autograd.h"
#include "compile/compile.h"
#include "optim/adam.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;

namespace {

constexpr CompileOptions kFreezing{
    .mode = CompileMode::reduce_overhead, .on_fallback = OnFallback::silent, .pure = true, .freezing = true};

struct Net : nn::Module {
  nn::Conv2d first{*this, "first", 3, 20, 3, {.padding = 1}}, second{*this, "second", 20, 16, 3};
  nn::Linear wide{*this, "wide", 16 * 6 * 6, 120}, narrow{*this, "narrow", 120, 33};
  Tensor operator()(const Tensor& x) { return narrow(relu(wide(relu(second(relu(first(x)))).flatten(1)))); }
};

}  // namespace

TEST_CASE("freezing: the bits of eager, before and after every op that changes weights") {
  manual_seed(1);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16})
    for (const int64_t batch : {1, 3, 160}) {  // products with a vector, of few rows, packed by blocks
      CAPTURE(std::string(name(dtype)), batch);
      Net model, other;
      model.to(dtype), other.to(dtype);
      auto fast = compile([&](const Tensor& x) { return model(x); }, kFreezing);
      int64_t direct = 0;
      const auto check = [&](const char* changed) {
        CAPTURE(changed);
        const InferenceMode guard;
        for (int i = 0; i < 2; ++i) {
          const Tensor x = randn({batch, 3, 8, 8}, {.dtype = dtype});
          CHECK(same_bits(fast(x), model(x)));
          ++direct;
        }
        CHECK(fast.stats().direct == direct);
      };
      {
        const InferenceMode guard;
        for (int i = 0; i < 4; ++i) fast(randn({batch, 3, 8, 8}, {.dtype = dtype}));
      }
      check("nothing");
      {
        const NoGrad guard;
        model.wide.weight.mul_(1.5);
        model.second.weight.select(0, 3).fill_(0.25);  // a part
      }
      check("in place");
      {
        const InferenceMode guard;
        model.first.weight.add_(0.125);
        model.narrow.weight.detach().zero_();
      }
      check("in place under InferenceMode, by an alias");
      model.load_state_dict(other.state_dict());
      check("load_state_dict");
      optim::AdamW optimizer(model.parameters(), {.lr = 0.1});
      model(randn({2, 3, 8, 8}, {.dtype = dtype})).sum().backward();
      optimizer.step();
      optimizer.zero_grad();
      check("optimizer");
    }
}

TEST_CASE("freezing: weights are arranged once; what changes them unseen counts with the next op") {
  manual_seed(2);
  nn::Linear linear(40, 50);
  nn::Conv2d conv(4, 8, 3);
  nn::ConvTranspose2d transposed(4, 8, 3);
  const auto run = [&](auto& layer, const Tensor& x) {
    const InferenceMode guard;
    auto fast = compile([&](const Tensor& y) { return layer(y); }, kFreezing);
    for (int i = 0; i < 6; ++i) fast(x);
    CHECK(fast.stats().direct == 2);
    const Tensor before = layer(x);
    layer.weight.template data<float>()[7] = 100;
    CHECK(same_bits(fast(x), before));
    CHECK_FALSE(same_bits(layer(x), before));
    layer.weight.mul_(1);
    CHECK(same_bits(fast(x), layer(x)));
  };
  run(linear, randn({40, 40}));
  run(conv, randn({1, 4, 9, 9}));
  run(transposed, randn({1, 4, 9, 9}));

  // Without the promise every call sees everything.
  const InferenceMode guard;
  const Tensor x = randn({40, 40});
  CompileOptions plain = kFreezing;
  plain.freezing = false;
  auto fast = compile([&](const Tensor& y) { return linear(y); }, plain);
  for (int i = 0; i < 6; ++i) fast(x);
  linear.weight.data<float>()[8] = 50;
  CHECK(same_bits(fast(x), linear(x)));
}

TEST_CASE("freezing: weights that are assigned, that the call writes, or that are arguments") {
  manual_seed(3);
  const InferenceMode guard;
  const Tensor x = randn({64, 40});
  nn::Linear linear(40, 50);
  auto fast = compile([&](const Tensor& y) { return linear(y); }, kFreezing);
  for (int i = 0; i < 6; ++i) fast(x);
  linear.weight = randn({50, 40});
  for (int i = 0; i < 6; ++i) CHECK(same_bits(fast(x), linear(x)));

  Tensor w = ones({50, 40}), mine = ones({50, 40});
  auto writes = compile([&](const Tensor& y) { return weft::linear(y, w.mul_(1.5)); }, kFreezing);
  for (int i = 0; i < 8; ++i) CHECK(same_bits(writes(x), weft::linear(x, mine.mul_(1.5))));

  auto given = compile([](const Tensor& y, const Tensor& v) { return weft::linear(y, v); }, kFreezing);
  for (int i = 0; i < 8; ++i) {
    const Tensor v = randn({50, 40});
    CHECK(same_bits(given(x, v), weft::linear(x, v)));
  }
  CHECK(given.stats().direct > 0);
}
