// Activation checkpointing: the gradients of the plain run bit for bit, less memory, and errors that name the op.
#include <thread>

#include "core/allocator.h"
#include "core/recompute.h"
#include "tests/catch.h"
#include "tests/device.h"
#include "weft.h"

using namespace weft;

namespace {

struct Block : nn::Module {
  nn::Linear up, down;
  nn::Dropout dropout{*this, "dropout", 0.3};
  explicit Block(int64_t n) : up(*this, "up", n, 2 * n), down(*this, "down", 2 * n, n) {}
  Tensor operator()(const Tensor& x) { return x + dropout(down(gelu(up(x)))); }
};

std::vector<Tensor> gradients(const std::vector<Tensor>& of) {
  std::vector<Tensor> out;
  for (Tensor t : of) {
    out.push_back(t.grad());
    t.set_grad(Tensor());
  }
  return out;
}
void check_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].defined());
    CHECK(a[i].equal(b[i]));
  }
}
// Gradients of `leaves` and the random state after, by a loss that `forward(checkpointed)` returns.
template <class F>
void check_like_plain(std::vector<Tensor> leaves, F forward) {
  manual_seed(7);
  forward(false).backward();
  const auto plain = gradients(leaves);
  const Tensor after = rand({3});
  manual_seed(7);
  forward(true).backward();
  check_same(gradients(leaves), plain);
  CHECK(rand({3}).equal(after));
}

}  // namespace

TEST_CASE("checkpoint gives the gradients of the plain run, dropout included, and leaves the random stream alone") {
  manual_seed(1);
  Block a(6), b(6);
  const Tensor x = randn({4, 6}).set_requires_grad(true);
  std::vector<Tensor> leaves = a.parameters();
  for (const Tensor& p : b.parameters()) leaves.push_back(p);
  leaves.push_back(x);
  check_like_plain(leaves, [&](bool on) {
    Tensor h = on ? checkpoint(a, x) : a(x);
    h = on ? checkpoint([&](const Tensor& t) { return b(t); }, h) : b(h);
    return h.square().mean();
  });
}

TEST_CASE("checkpoint under Autocast, nested, and with other arguments and results than one tensor") {
  manual_seed(2);
  Block a(8);
  const Tensor x = randn({4, 8}).set_requires_grad(true);
  std::vector<Tensor> leaves = a.parameters();
  leaves.push_back(x);
  SECTION("the guard outside, backward outside of it") {
    check_like_plain(leaves, [&](bool on) {
      const Autocast guard(default_device());
      return (on ? checkpoint(a, x) : a(x)).to(DType::f32).square().mean();
    });
  }
  SECTION("the guard inside") {
    check_like_plain(leaves, [&](bool on) {
      const auto part = [&](const Tensor& t) {
        const Autocast guard(default_device());
        return a(t);
      };
      return (on ? checkpoint(part, x) : part(x)).square().mean();
    });
  }
  SECTION("three deep") {
    check_like_plain(leaves, [&](bool on) {
      const auto inner = [&, on](const Tensor& t) { return on ? checkpoint(a, t) : a(t); };
      const auto middle = [&, on, inner](const Tensor& t) {
        return a(on ? checkpoint(inner, t.tanh()) : inner(t.tanh()));
      };
      return (on ? checkpoint(middle, x) : middle(x)).square().mean();
    });
  }
  SECTION("lists, numbers, two results, a result that is an argument") {
    check_like_plain(leaves, [&](bool on) {
      const auto part = [&](const std::vector<Tensor>& list, double scale, const Tensor& unused) {
        return std::pair(a(list[0]) * scale, list[1].exp() + unused);
      };
      const std::vector<Tensor> list = {x, x.sin()};
      const auto [u, v] = on ? checkpoint(part, list, 0.5, x) : part(list, 0.5, x);
      return (u * v).sum();
    });
  }
}

TEST_CASE("BatchNorm under checkpoint updates its statistics once") {
  manual_seed(3);
  nn::BatchNorm1d plain(5), other(5, {.momentum = std::nullopt});
  nn::BatchNorm1d plain2(5), other2(5, {.momentum = std::nullopt});
  const Tensor x = randn({8, 5}).set_requires_grad(true);
  other(plain(x)).square().sum().backward();
  const Tensor want = x.grad();
  const_cast<Tensor&>(x).set_grad(Tensor());
  checkpoint([&](const Tensor& t) { return other2(plain2(t)); }, x).square().sum().backward();
  CHECK(x.grad().equal(want));
  for (auto [a, b] : {std::pair(&plain, &plain2), std::pair(&other, &other2)}) {
    CHECK(a->running_mean.equal(b->running_mean));
    CHECK(a->running_var.equal(b->running_var));
    CHECK(b->num_batches_tracked.item<int64_t>() == 1);
    CHECK(a->weight.grad().equal(b->weight.grad()));
  }
}

namespace {
int cube_runs = 0;
struct Cube : Function<Cube> {
  static Tensor forward(Context& c, const Tensor& x) {
    ++cube_runs;
    c.save_for_backward({x});
    return x * x * x;
  }
  static std::vector<Tensor> backward(Context& c, const std::vector<Tensor>& g) {
    const Tensor x = c.saved()[0];
    return {g[0] * 3 * x * x};
  }
};
}  // namespace

TEST_CASE("checkpoint with custom Functions, hooks, grad(), double backward and a retained graph") {
  const Tensor x = tensor({0.5, -1.0, 2.0}, {.dtype = DType::f64}).set_requires_grad(true);
  const auto f = [](const Tensor& t) { return Cube::apply(t.sin()).exp(); };
  const Tensor want = grad({f(x).sum()}, {x})[0];
  SECTION("grad, twice over one graph") {
    cube_runs = 0;
    const Tensor y = checkpoint(f, x).sum();
    CHECK(grad({y}, {x}, {.retain_graph = true})[0].equal(want));
    CHECK(grad({y}, {x})[0].equal(want));
    CHECK(cube_runs == 3);  // each backward pass runs it again
  }
  SECTION("double backward") {
    const auto second = [&](const Tensor& y) {
      return grad({grad({y}, {x}, {.create_graph = true})[0].square().sum()}, {x})[0];
    };
    CHECK(second(checkpoint(f, x).sum()).equal(second(f(x).sum())));
  }
  SECTION("grad() of a part inside the region") {
    const auto g = [&](const Tensor& t) {
      const Tensor u = t.detach().set_requires_grad(true);
      return t.sin() * grad({f(u).sum()}, {u})[0];
    };
    CHECK(grad({checkpoint(g, x).sum()}, {x})[0].equal(grad({g(x).sum()}, {x})[0]));
  }
  SECTION("hooks on tensors of the region run once") {
    int calls = 0;
    const auto h = [&](const Tensor& t) {
      const Tensor s = t.sin();
      s.register_hook([&](const Tensor& g) {
        ++calls;
        return g * 2;
      });
      return s.exp();
    };
    const Tensor got = grad({checkpoint(h, x).sum()}, {x})[0];
    CHECK(calls == 1);
    CHECK(got.equal(2 * grad({x.sin().exp().sum()}, {x})[0]));
  }
  SECTION("the saved-tensor hooks of the user hold the arguments") {
    int packs = 0;
    Tensor y;
    {
      const SavedTensorHooks hooks(
          [&](const Tensor& t) -> std::any {
            ++packs;
            return t.clone();
          },
          [](const std::any& p) { return std::any_cast<Tensor>(p); });
      y = checkpoint(f, x);
    }
    CHECK(packs == 1);
    CHECK(grad({y.sum()}, {x})[0].equal(want));
  }
  SECTION("without grad mode it is a call") {
    NoGrad guard;
    CHECK_FALSE(checkpoint(f, x).requires_grad());
  }
}

TEST_CASE("the second run stops when all is there that backward asks for") {
  const Tensor x = ones({3}).set_requires_grad(true);
  int ends = 0;
  const Tensor y = checkpoint(
      [&](const Tensor& t) {
        const Tensor u = t.exp();  // the last op that saves something
        ++ends;
        return u + 1;
      },
      x);
  y.sum().backward();
  CHECK(ends == 1);
  CHECK(x.grad().equal(x.detach().exp()));
}

TEST_CASE("a second run that differs, and arguments changed in between, are errors that name the op") {
  const Tensor x = ones({2, 3}).set_requires_grad(true);
  int run = 0;
  using Catch::Contains;
  SECTION("another op") {
    const Tensor y = checkpoint([&](const Tensor& t) { return (++run == 1 ? t.exp() : t.sin()).sum(); }, x);
    CHECK_THROWS_WITH(y.backward(), Contains("op sin instead of exp"));
    CHECK_THROWS_WITH(y.backward(), Contains("op sin instead of exp"));  // nothing is left of the first try
  }
  SECTION("fewer") {
    const Tensor y = checkpoint([&](const Tensor& t) { return (++run == 1 ? t.exp().tanh() : t.exp()).sum(); }, x);
    CHECK_THROWS_WITH(y.backward(), Contains("saves less than the first") && Contains("tanh is missing"));
  }
  SECTION("another shape") {
    const Tensor y = checkpoint([&](const Tensor& t) { return (++run == 1 ? t : t.slice(0, 0, 1)).exp().sum(); }, x);
    CHECK_THROWS_WITH(y.backward(), Contains("exp saves") && Contains("[1, 3]"));
  }
  SECTION("another dtype") {
    const Tensor y =
        checkpoint([&](const Tensor& t) { return (++run == 1 ? t : t.to(DType::f64)).exp().to(DType::f32).sum(); }, x);
    CHECK_THROWS_WITH(y.backward(), Contains("exp saves") && Contains("f64"));
  }
  SECTION("an argument") {
    Tensor h = x * 1;
    const Tensor y = checkpoint([](const Tensor& t) { return t.exp().sum(); }, h);
    {
      NoGrad guard;
      h.add_(1);
    }
    CHECK_THROWS_WITH(y.backward(), Contains("argument") && Contains("changed in place"));
  }
  SECTION("a parameter") {
    Tensor w = full({3}, 2.0).set_requires_grad(true);
    const Tensor y = checkpoint([&](const Tensor& t) { return (t.sin() * w).sum(); }, x);
    {
      NoGrad guard;
      w.mul_(2);
    }
    CHECK_THROWS_WITH(y.backward(), Contains("mul reads") && Contains("changed in place"));
  }
  SECTION("an exception of the region's own") {
    const Tensor y = checkpoint(
        [&](const Tensor& t) {
          const Tensor u = t.exp();
          if (++run == 2) throw std::runtime_error("not today");
          return u.sin().sum();
        },
        x);
    CHECK_THROWS_WITH(y.backward(), "not today");
    y.backward();
    CHECK(x.grad().defined());
  }
}

TEST_CASE("checkpoint_sequential keeps less than 0.3 of the activations of 64 layers, and releases what it held") {
  manual_seed(4);
  constexpr int kLayers = 64, kWidth = 64, kBatch = 256;
  std::vector<nn::Linear> layers;
  for (int i = 0; i < kLayers; ++i) layers.emplace_back(kWidth, kWidth);
  std::vector<std::function<Tensor(const Tensor&)>> functions;
  std::vector<Tensor> parameters;
  for (auto& layer : layers) {
    functions.push_back([&layer](const Tensor& t) { return layer(t).tanh(); });
    for (const Tensor& p : layer.parameters()) {
      parameters.push_back(p);
      const_cast<Tensor&>(parameters.back()).set_grad(zeros_like(p.detach()));
    }
  }
  const Tensor x = randn({kBatch, kWidth});
  const auto peak = [&](int64_t segments) {
    for (const Tensor& p : parameters) {
      NoGrad guard;
      p.grad().zero_();
    }
    const int64_t before = test::device_memory().allocated;
    test::reset_device_peak();
    checkpoint_sequential(functions, segments, x).square().sum().backward();
    const int64_t most = test::device_memory().peak_allocated - before;
    CHECK(test::device_memory().allocated == before);
    return most;
  };
  const int64_t plain = peak(1);
  std::vector<Tensor> want;
  for (const Tensor& p : parameters) want.push_back(p.grad().clone());
  const int64_t less = peak(8);
  for (size_t i = 0; i < parameters.size(); ++i) CHECK(parameters[i].grad().equal(want[i]));
  CAPTURE(plain, less);
  CHECK(plain > 64 * kBatch * kWidth * 4);
  CHECK(static_cast<double>(less) <= 0.3 * static_cast<double>(plain));
  CHECK_THROWS_WITH(checkpoint_sequential(functions, 65, x), Catch::Contains("65 segments of 64 functions"));
}

namespace {
struct Attention : nn::Module {
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, out, up, down;
  explicit Attention(int64_t n)
      : norm1(*this, "norm1", n),
        norm2(*this, "norm2", n),
        qkv(*this, "qkv", n, 3 * n),
        out(*this, "out", n, n),
        up(*this, "up", n, 4 * n),
        down(*this, "down", 4 * n, n) {}
  Tensor operator()(const Tensor& x) {
    const auto parts =
        qkv(norm1(x)).view({x.size(0), x.size(1), 3, 2, x.size(2) / 2}).permute({2, 0, 3, 1, 4}).unbind(0);
    const Tensor y = scaled_dot_product_attention(parts[0], parts[1], parts[2], {.dropout_p = 0.1, .is_causal = true});
    const Tensor h = x + out(y.transpose(1, 2).reshape(x.sizes()));
    return h + dropout(down(gelu(up(norm2(h)))), 0.1);
  }
};
}  // namespace

TEST_CASE("a GPT with a region per block: the plain gradients, in less than 0.3 of the memory") {
  manual_seed(8);
  std::vector<Attention> blocks;
  for (int i = 0; i < 12; ++i) blocks.emplace_back(32);
  std::vector<Tensor> parameters;
  for (auto& b : blocks)
    for (Tensor p : b.parameters()) {
      p.set_grad(zeros_like(p.detach()));
      parameters.push_back(p);
    }
  const Tensor x = randn({4, 64, 32});
  const auto run = [&](bool on, bool lower) {
    for (const Tensor& p : parameters) p.grad().zero_();
    manual_seed(9);
    const int64_t before = test::device_memory().allocated;
    test::reset_device_peak();
    {
      const Autocast guard(default_device(), DType::bf16, {.enabled = lower});
      Tensor h = x;
      for (auto& b : blocks) h = on ? checkpoint(b, h) : b(h);
      h.to(DType::f32).square().mean().backward();
    }
    std::vector<Tensor> out;
    for (const Tensor& p : parameters) out.push_back(p.grad().clone());
    return std::pair(out, static_cast<double>(test::device_memory().peak_allocated - before));
  };
  for (const bool lower : {false, true}) {
    const auto [want, plain] = run(false, lower);
    const auto [got, less] = run(true, lower);
    check_same(got, want);
    CAPTURE(plain, less, lower);
    CHECK(less < 0.3 * plain);
  }
}

TEST_CASE("checkpoint inside of a compiled function gives the same bits and starts nothing over") {
  manual_seed(5);
  Block a(6), b(6);
  const Tensor x = randn({4, 6});
  std::vector<Tensor> leaves = a.parameters();
  for (const Tensor& p : b.parameters()) leaves.push_back(p);
  const auto step = [&](const Tensor& in) {
    const Tensor loss = checkpoint(b, checkpoint(a, in)).square().mean();
    loss.backward();
    return loss.detach();
  };
  auto fast = compile(step);
  for (int i = 0; i < 4; ++i) {
    manual_seed(static_cast<uint64_t>(i));
    const Tensor want = step(x);
    const auto plain = gradients(leaves);
    manual_seed(static_cast<uint64_t>(i));
    CHECK(fast(x).equal(want));
    check_same(gradients(leaves), plain);
  }
  CHECK(fast.stats().breaks.empty());
}

TEST_CASE("threads run backward through their own regions and one they share") {
  manual_seed(6);
  Block shared(6);
  shared.eval();
  const Tensor x = randn({4, 6}).set_requires_grad(true);
  const Tensor y = checkpoint(shared, x).square().sum();
  const Tensor want = grad({y}, {x}, {.retain_graph = true})[0];
  std::vector<std::thread> threads;
  std::atomic<int> same{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      const Tensor own = grad({checkpoint(shared, x).square().sum()}, {x})[0];
      const Tensor common = grad({y}, {x}, {.retain_graph = true})[0];
      same += own.equal(want) && common.equal(want);
    });
  for (auto& t : threads) t.join();
  CHECK(same == 4);
  CHECK_FALSE(detail::is_recomputing());
}
