// Memory of compiled functions: what lives within a call is laid out once, and takes less than eager's.
#include <thread>

#include "compile/compile.h"
#include "core/allocator.h"
#include "tests/catch.h"
#include "tests/compile/twins.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;
using weft::test::Twins;

namespace {

struct Mlp : nn::Layer<Mlp> {
  nn::Linear up{*this, "up", 128, 512}, down{*this, "down", 512, 128};
  Tensor forward(const Tensor& x) {
    Tensor y = x;
    for (int block = 0; block < 4; ++block) y = y + down(gelu(up(y)));
    return y;
  }
};

int64_t peak_of(const std::function<void()>& f) {
  reset_peak_memory_stats();
  f();
  return memory_stats().peak_allocated;
}

}  // namespace

TEST_CASE("a training step takes less memory when compiled, and has the same bits") {
  manual_seed(1);
  Mlp net, twin;
  twin.load_state_dict(net.state_dict());
  const Tensor x = randn({512, 128}), y = randn({512, 128});
  optim::AdamW own(net.parameters(), {.lr = 1e-3}), other(twin.parameters(), {.lr = 1e-3});
  const auto step = [&](Mlp& m, optim::Optimizer& o) {
    o.zero_grad();
    Tensor loss = mse_loss(m(x), y);
    loss.backward();
    o.step();
    return loss.detach();
  };
  auto fast = compile([&] { return step(net, own); });
  const auto same = [&] { return same_bits(fast(), step(twin, other)); };

  const int64_t first = peak_of([&] { fast(); }), first_eager = peak_of([&] { step(twin, other); });
  CHECK(static_cast<double>(first) <= 1.1 * static_cast<double>(first_eager));
  for (int i = 0; i < 4; ++i) CHECK(same());
  const int64_t steady = peak_of([&] { fast(); }), eager = peak_of([&] { step(twin, other); });
  CAPTURE(steady, eager, fast.report());
  CHECK(static_cast<double>(steady) <= 0.9 * static_cast<double>(eager));
  CHECK_THAT(fast.report(), Contains("again gelu"));
  CHECK(same());
  for (const auto& [name, p] : net.state_dict()) CHECK(same_bits(p, twin.state_dict().find(name)->detach()));
}

TEST_CASE("tensors that outlive a call unexpectedly, or that the host looks at, keep their values") {
  manual_seed(2);
  const Tensor x = rand({300, 256});
  bool hold = false, look = false;
  std::vector<Tensor> held;
  const auto f = [&](const Tensor& in) {
    const Tensor a = in.matmul(in.t()).exp(), b = a.cumsum(0), c = b.narrow(0, 0, 280).softmax(-1);
    if (hold) held.push_back(b);
    double seen = 0;
    if (look) seen = static_cast<const float*>(c.contiguous().data_ptr())[7];
    return (c * 2 + seen).sum({.dim = 0});
  };
  auto fast = compile(f, {.on_fallback = OnFallback::silent});
  for (int i = 0; i < 24; ++i) {
    hold = i % 3 == 2;
    look = i % 5 == 4;
    const Tensor in = x + i * 1e-3;
    const Tensor now = fast(in);
    CHECK(same_bits(now, f(in)));
  }
  REQUIRE(held.size() % 2 == 0);  // of the compiled call, then of the other
  for (size_t i = 0; i < held.size(); i += 2) CHECK(same_bits(held[i], held[i + 1]));
}

TEST_CASE("blocks of like sizes stand in for each other") {
  manual_seed(3);
  const Tensor small = rand({290, 260}), large = rand({310, 260});
  bool keep = false;
  std::vector<Tensor> kept;
  const auto f = [&](const Tensor& a, const Tensor& b) {
    Tensor u = a.cumsum(0);
    if (keep) kept.push_back(u);
    u = u.cumsum(1);
    const Tensor v = b.cumsum(0), w = v.cumsum(1).cumsum(0);
    return w.narrow(0, 0, 290) + u;
  };
  auto fast = compile(f);
  for (int i = 0; i < 30; ++i) {
    keep = i % 4 == 3;
    const Tensor now = i % 2 ? fast(small, large) : fast(small * 2, large);
    CHECK(same_bits(now, i % 2 ? f(small, large) : f(small * 2, large)));
    if (i % 7 == 6) kept.clear();
  }
}

TEST_CASE("norms are computed again where their results would be kept, with the bits of eager calls") {
  manual_seed(4);
  struct Block : nn::Layer<Block> {
    using Layer::Layer;
    nn::LayerNorm norm{*this, "norm", 256};
    nn::Linear up{*this, "up", 256, 256};
    Tensor forward(const Tensor& x) { return x + up(norm(x)); }
  };
  struct Net : nn::Layer<Net> {
    Block a{*this, "a"}, b{*this, "b"}, c{*this, "c"}, d{*this, "d"};
    Tensor forward(const Tensor& x) { return d(c(b(a(x)))); }
  };
  Twins<Net> twins(randn({2048, 256}));
  auto fast = compile([&] { return twins.step(); });
  for (int i = 0; i < 6; ++i) CHECK(same_bits(fast(), twins.eager_step()));
  CHECK_THAT(fast.report(), Contains("again normalize_rows"));
  const int64_t steady = peak_of([&] { fast(); }), eager = peak_of([&] { twins.eager_step(); });
  CHECK(static_cast<double>(steady) <= 0.85 * static_cast<double>(eager));
  CHECK(twins.same_state());
}

TEST_CASE("results take the place of operands that nobody needs any more, and only of those") {
  manual_seed(5);
  const Tensor x = randn({600, 500}), w = randn({500, 600});
  const auto f = [&](const Tensor& in) {
    Tensor a = in.matmul(w);       // [600, 600]
    Tensor b = a.exp();            // in place of a
    Tensor c = b.matmul(a.cos());  // but a is needed here
    Tensor d = c.tanh(), e = d.matmul(d);
    Tensor g = (e * e.t()).sqrt();  // e is read in two ways
    Tensor h = g.cumsum(0), k = (h + 1).mul(h).add(h.sin());
    return k.matmul(in);
  };
  auto fast = compile(f);
  for (int i = 0; i < 4; ++i) {
    const Tensor in = x * (1 + i * 1e-2);
    CHECK(same_bits(fast(in), f(in)));
  }
  auto direct = compile(f, {.mode = CompileMode::reduce_overhead, .pure = true});
  for (int i = 0; i < 8; ++i) {
    const Tensor in = x * (1 + i * 1e-2);
    CHECK(same_bits(direct(in), f(in)));
  }
}

TEST_CASE("no result takes the place of an operand that its group reads in another way too") {
  set_num_threads(2);
  manual_seed(6);
  for (int64_t n : {64, 200, 512}) {
    const Tensor a = randn({n, n}), y = randn({n, n});
    for (int way = 0; way < 3; ++way) {
      const auto f = [&](const Tensor& in, const Tensor& other) {
        const NoGrad guard;
        Tensor x = in.matmul(in);
        const Tensor part = way == 0   ? x.narrow(0, 0, 1)
                            : way == 1 ? x.narrow(1, 0, 1)
                                       : x.narrow(1, 0, 1).narrow(0, 0, 1);
        const Tensor z = x + other * part;
        x = Tensor();
        return z.matmul(in);
      };
      for (CompileMode mode : {CompileMode::default_, CompileMode::reduce_overhead}) {
        auto fast = compile(f, {.mode = mode, .pure = true});
        for (int i = 0; i < 6; ++i) CHECK(same_bits(fast(a, y), f(a, y)));
      }
    }
  }
}

TEST_CASE("kernels that run in another order do not meet in memory that the program used twice") {
  manual_seed(7);
  const Tensor s = randn({70, 70}), w = randn({70, 4096}), d = randn({512, 512});
  const auto f = [](const Tensor& small, const Tensor& wide, const Tensor& large) {
    const NoGrad guard;
    Tensor whole = large.matmul(large);
    Tensor first = small.matmul(small);
    const Tensor x = first.matmul(wide);
    first = Tensor();
    { const Tensor dead = wide * 2.0; }
    const Tensor second = whole.narrow(0, 0, 70).matmul(large.narrow(1, 0, 70));  // where `first` was
    whole = Tensor();
    return std::vector<Tensor>{second, x.sum({.dim = {1}})};
  };
  for (CompileMode mode : {CompileMode::default_, CompileMode::reduce_overhead}) {
    auto fast = compile(f, {.mode = mode});
    for (int i = 0; i < 6; ++i) {
      const std::vector<Tensor> now = fast(s, w, d), expected = f(s, w, d);
      CHECK(same_bits(now[0], expected[0]));
      CHECK(same_bits(now[1], expected[1]));
    }
  }
}

TEST_CASE("gradients share a block with what dies before them, and outlive the call as ever") {
  manual_seed(7);
  struct Block : nn::Layer<Block> {
    using Layer::Layer;
    nn::Linear up{*this, "up", 128, 256}, down{*this, "down", 256, 128};
    Tensor forward(const Tensor& x) { return x + down(gelu(up(x))); }
  };
  struct Net : nn::Layer<Net> {
    Block a{*this, "a"}, b{*this, "b"}, c{*this, "c"}, d{*this, "d"};
    Tensor forward(const Tensor& x) { return d(c(b(a(x)))); }
  };
  Net net, twin;
  twin.load_state_dict(net.state_dict());
  const Tensor x = randn({256, 128}), y = randn({256, 128});
  optim::SGD own(net.parameters(), {.lr = 1e-2}), other(twin.parameters(), {.lr = 1e-2});
  int when = 0;  // gradients go before the forward pass, after it, in the middle of it, or not at all
  const auto step = [&](Net& m, optim::Optimizer& o) {
    if (when == 0) o.zero_grad();
    Tensor h = m(x);
    if (when == 1) o.zero_grad();
    Tensor loss = mse_loss(h, y);
    if (when == 2) o.zero_grad();
    loss.backward();
    o.step();
    return loss.detach();
  };
  auto fast = compile([&] { return step(net, own); });
  const auto grads = [](Net& m) {
    std::vector<Tensor> all;
    for (const Tensor& p : m.parameters()) all.push_back(p.grad());
    return all;
  };
  const auto check_grads = [&](const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) CHECK(same_bits(a[i], b[i]));
  };
  for (when = 0; when < 4; ++when)
    for (int i = 0; i < 3; ++i) {
      CHECK(same_bits(fast(), step(twin, other)));
      check_grads(grads(net), grads(twin));
    }
  when = 0;
  fast();
  step(twin, other);
  const int64_t steady = peak_of([&] { fast(); }), eager = peak_of([&] { step(twin, other); });
  CAPTURE(steady, eager, fast.report());
  CHECK(static_cast<double>(steady) <= 0.8 * static_cast<double>(eager));
  CHECK_THAT(fast.report(), Contains("of results beside them"));

  // Whoever keeps gradients of a call has them unchanged, and all memory is free in the end.
  std::vector<Tensor> kept, kept_twin;
  for (int i = 0; i < 7; ++i) {
    CHECK(same_bits(fast(), step(twin, other)));
    if (i % 3 == 2) {
      const auto one = static_cast<size_t>(2 * i);
      kept.push_back(grads(net)[one]);
      kept_twin.push_back(grads(twin)[one]);
    }
    check_grads(kept, kept_twin);
  }
  for (const auto& [name, p] : net.state_dict()) CHECK(same_bits(p, twin.state_dict().find(name)->detach()));
  kept.clear();
  own.zero_grad();
  const int64_t before = memory_stats().allocated;
  fast();
  own.zero_grad();
  CHECK(memory_stats().allocated == before);
  step(twin, other);

  // A gradient changed in place, viewed, given away to another thread: a tensor like any other.
  CHECK(same_bits(fast(), step(twin, other)));
  Tensor g = net.b.up.weight.grad(), view = g.narrow(0, 1, 100).t();
  std::thread([&] { g.mul_(2); }).join();
  own.zero_grad();
  CHECK(same_bits(fast(), step(twin, other)));
  CHECK(view.equal(g.narrow(0, 1, 100).t()));
}

TEST_CASE("a result does not take the memory of an operand that the same kernel reads elsewhere as well") {
  const auto f = [](const Tensor& in) {
    Tensor x = in.cumsum(0), line = x.narrow(0, 5, 1), scaled = in * line, sum = x + scaled;
    x = line = scaled = Tensor();
    return sum.cumsum(0);
  };
  auto fast = compile(f);
  for (int i = 0; i < 4; ++i) {
    const Tensor in = randn({180, 180});
    CHECK(same_bits(fast(in), f(in)));
  }
  CHECK_THAT(fast.report(), Contains("fused: mul add"));
}
