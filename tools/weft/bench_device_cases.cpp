#include "tools/weft/bench_device_cases.h"

#include <fmt/format.h>

#include <memory>

#include "core/thread_state.h"
#include "optim/adam.h"
#include "weft.h"

namespace weft::bench {
namespace {

using Call = std::function<void()>;
using Op = std::function<Tensor()>;

Call without_gradient(const Op& op) {
  return [op] {
    NoGrad guard;
    op();
  };
}

class Cases {
 public:
  Cases(Device device, bool small) : device_(device), small_(small) {}

  std::vector<DeviceCase> make() {
    for (DType dtype : {DType::f32, DType::bf16}) {
      pointwise(dtype);
      rows(dtype);
    }
    memory("cast_bf16/f32", table_, 6,
           [=, this] { return without_gradient([x = values(table_, DType::f32)] { return x.to(DType::bf16); }); });
    memory("adamw/f32", table_, 28, [this] { return adamw(); });
    for (DType dtype : {DType::f32, DType::bf16})
      for (int64_t n : small_ ? std::vector<int64_t>{32, 64} : std::vector<int64_t>{1024, 2048, 4096, 8192})
        product(n, dtype);
    attention("causal", small_ ? Dims{1, 2, 32, 16} : Dims{8, 12, 1024, 64}, true);
    attention("full", small_ ? Dims{1, 1, 32, 32} : Dims{4, 16, 4096, 128}, false);
    return std::move(cases_);
  }

 private:
  // Few random numbers, repeated: quick to make, and no kernel but a copy.
  Tensor values(const Dims& sizes, DType dtype) const {
    constexpr int64_t kDifferent = 1 << 16;
    int64_t n = 1;
    for (int64_t s : sizes) n *= s;
    if (n <= kDifferent || n % kDifferent != 0) return randn(sizes).to(dtype).to(device_);
    const Tensor some = randn({kDifferent}).to(dtype).to(device_);
    return some.expand({n / kDifferent, kDifferent}).contiguous().reshape(sizes);
  }
  Tensor leaf(const Dims& sizes, DType dtype) const { return values(sizes, dtype).set_requires_grad(true); }

  // The gradients of `inputs` alone: the forward pass has run.
  Call backward(const Op& op, const std::vector<Tensor>& inputs) const {
    const Tensor y = op(), cotangent = y.dim() == 0 ? ones({}).to(y.dtype()).to(device_) : values(y.sizes(), y.dtype());
    return [=] { grad({y}, inputs, {.grad_outputs = {cotangent}, .retain_graph = true}); };
  }

  void memory(const std::string& name, const Dims& sizes, double bytes_per_element, std::function<Call()> make) {
    double n = 1;
    for (int64_t s : sizes) n *= static_cast<double>(s);
    cases_.push_back({.name = name,
                      .shape = fmt::format("{}", fmt::join(sizes.begin(), sizes.end(), "x")),
                      .bytes = bytes_per_element * n,
                      .make = std::move(make)});
  }
  // times: how often an element is read or written.
  void forward(const std::string& op, DType dtype, const Dims& sizes, double times, std::function<Op()> make) {
    memory(fmt::format("{}/{}", op, name(dtype)), sizes, times * static_cast<double>(itemsize(dtype)),
           [make] { return without_gradient(make()); });
  }
  void backward(const std::string& op, DType dtype, const Dims& sizes, double times,
                std::function<std::pair<Op, std::vector<Tensor>>()> make) {
    memory(fmt::format("{}_backward/{}", op, name(dtype)), sizes, times * static_cast<double>(itemsize(dtype)),
           [this, make] {
             const auto [f, inputs] = make();
             return backward(f, inputs);
           });
  }

  void pointwise(DType t) {
    const Dims row{table_[1]}, square = small_ ? Dims{64, 64} : Dims{8192, 8192};
    forward("add", t, table_, 3,
            [=, this] { return Op([x = values(table_, t), y = values(table_, t)] { return x + y; }); });
    forward("mul_row", t, table_, 2,
            [=, this] { return Op([x = values(table_, t), y = values(row, t)] { return x * y; }); });
    forward("relu", t, table_, 2, [=, this] { return Op([x = values(table_, t)] { return relu(x); }); });
    forward("gelu", t, table_, 2, [=, this] { return Op([x = values(table_, t)] { return gelu(x); }); });
    backward("gelu", t, table_, 3, [=, this] {
      const Tensor x = leaf(table_, t);
      return std::pair{Op([x] { return gelu(x); }), std::vector{x}};
    });
    forward("copy_t", t, square, 2, [=, this] { return Op([x = values(square, t)] { return x.t().contiguous(); }); });
    forward("dropout", t, table_, 2, [=, this] { return Op([x = values(table_, t)] { return dropout(x, 0.1); }); });
    forward("sum", t, table_, 1, [=, this] { return Op([x = values(table_, t)] { return x.sum(); }); });
    forward("sum_dim0", t, table_, 1, [=, this] { return Op([x = values(table_, t)] { return x.sum({.dim = 0}); }); });
  }

  void rows(DType t) {
    const Dims row{table_[1]};
    forward("softmax", t, table_, 2, [=, this] { return Op([x = values(table_, t)] { return x.softmax(-1); }); });
    backward("softmax", t, table_, 3, [=, this] {
      const Tensor x = leaf(table_, t);
      return std::pair{Op([x] { return x.softmax(-1); }), std::vector{x}};
    });
    forward("layer_norm", t, table_, 2, [=, this] {
      return Op([=, x = values(table_, t), w = values(row, t), b = values(row, t)] {
        return layer_norm(x, row, {.weight = w, .bias = b});
      });
    });
    backward("layer_norm", t, table_, 3, [=, this] {
      const Tensor x = leaf(table_, t), w = leaf(row, t), b = leaf(row, t);
      return std::pair{Op([=] { return layer_norm(x, row, {.weight = w, .bias = b}); }), std::vector{x, w, b}};
    });
    forward("rms_norm", t, table_, 2, [=, this] {
      return Op([=, x = values(table_, t), w = values(row, t)] { return rms_norm(x, row, {.weight = w}); });
    });
    backward("rms_norm", t, table_, 3, [=, this] {
      const Tensor x = leaf(table_, t), w = leaf(row, t);
      return std::pair{Op([=] { return rms_norm(x, row, {.weight = w}); }), std::vector{x, w}};
    });
    const int64_t words = small_ ? 96 : 50304;
    const Dims vocabulary{words, table_[1]}, logits{small_ ? 16 : 8192, words};
    const auto indices = [=, this](int64_t n) { return randint(0, words, {n}).to(device_); };
    forward("embedding", t, table_, 2,
            [=, this] { return Op([w = values(vocabulary, t), i = indices(table_[0])] { return embedding(i, w); }); });
    // Reads the output's gradient, writes one row per word.
    backward("embedding", t, table_, 1 + static_cast<double>(words) / static_cast<double>(table_[0]), [=, this] {
      const Tensor w = leaf(vocabulary, t), i = indices(table_[0]);
      return std::pair{Op([=] { return embedding(i, w); }), std::vector{w}};
    });
    if (t != DType::bf16) return;
    forward("cross_entropy", t, logits, 1,
            [=, this] { return Op([x = values(logits, t), y = indices(logits[0])] { return cross_entropy(x, y); }); });
    backward("cross_entropy", t, logits, 2, [=, this] {
      const Tensor x = leaf(logits, t), y = indices(logits[0]);
      return std::pair{Op([=] { return cross_entropy(x, y); }), std::vector{x}};
    });
  }

  Call adamw() const {
    Tensor p = leaf(table_, DType::f32);
    p.set_grad(values(table_, DType::f32));
    const auto optimizer = std::make_shared<optim::AdamW>(std::vector{p});
    return [optimizer] { optimizer->step(); };
  }

  void product(int64_t n, DType t) {
    const double size = static_cast<double>(n);
    cases_.push_back(
        {.name = fmt::format("matmul_{}/{}", n, name(t)),
         .shape = fmt::format("{0}x{0},{0}x{0}", n),
         .flops = 2 * size * size * size,
         .make = [=, this] {
           return without_gradient([a = values({n, n}, t), b = values({n, n}, t)] { return matmul(a, b); });
         }});
  }

  void attention(const std::string& kind, const Dims& sizes, bool causal) {
    double products = 4 * static_cast<double>(sizes[2]);  // per element of q
    for (int64_t s : sizes) products *= static_cast<double>(s);
    if (causal) products /= 2;
    const std::string shape = fmt::format("{}", fmt::join(sizes.begin(), sizes.end(), "x"));
    const auto inputs = [=, this] {
      return std::vector{leaf(sizes, DType::bf16), leaf(sizes, DType::bf16), leaf(sizes, DType::bf16)};
    };
    const auto op = [causal](const std::vector<Tensor>& t) {
      return Op([=] { return scaled_dot_product_attention(t[0], t[1], t[2], {.is_causal = causal}); });
    };
    cases_.push_back({.name = "attention_" + kind + "/bf16", .shape = shape, .flops = products, .make = [=] {
                        return without_gradient(op(inputs()));
                      }});
    cases_.push_back(
        {.name = "attention_" + kind + "_backward/bf16", .shape = shape, .flops = 2.5 * products, .make = [=, this] {
           const std::vector<Tensor> t = inputs();
           return backward(op(t), t);
         }});
  }

  Device device_;
  bool small_;
  Dims table_ = small_ ? Dims{32, 128} : Dims{65536, 1024};
  std::vector<DeviceCase> cases_;
};

}  // namespace

std::vector<DeviceCase> device_cases(Device device, bool small) {
  // The cases' functions refer to it.
  static std::vector<std::unique_ptr<Cases>> alive;
  alive.push_back(std::make_unique<Cases>(device, small));
  return alive.back()->make();
}

}  // namespace weft::bench
