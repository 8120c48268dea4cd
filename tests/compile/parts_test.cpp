// Compiled functions whose calls are cut in parts by the host, or into which the host brings contents: what one part
// made, and what the host wrote, has its values in the next.
#include "compile/compile.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;

namespace {

constexpr int64_t kN = 288;
using Function = std::function<std::vector<Tensor>(const Tensor&)>;

// Six calls have the results of `f` itself.
void check_calls(const Function& f) {
  manual_seed(1);
  const Tensor x = randn({kN, kN}) * 0.05;
  auto fast = compile(f, {.on_fallback = OnFallback::silent});
  for (int i = 0; i < 6; ++i) {
    const std::vector<Tensor> expected = f(x), now = fast(x);
    REQUIRE(now.size() == expected.size());
    for (size_t k = 0; k < now.size(); ++k) {
      CAPTURE(i, k);
      CHECK(same_bits(now[k], expected[k]));
    }
  }
}

double first(const Tensor& t) { return t.narrow(0, 0, 1).sum().item<float>(); }

// Large results, each of which is dropped when the next but one begins.
Tensor products(const Tensor& x) {
  Tensor t = matmul(x, x), u = matmul(t, x);
  t = Tensor();
  Tensor v = matmul(u, u);
  u = Tensor();
  Tensor w = matmul(v, v);
  v = Tensor();
  return matmul(w, x);
}

// Takes less memory when the sum goes before the first product.
Tensor reordered(const Tensor& x, Tensor h, Tensor h2) {
  Tensor a = matmul(h, x);
  const Tensor b = h2.sum();
  h2 = Tensor();
  Tensor c = matmul(a, h);
  a = h = Tensor();
  return (c * 2 + b).tanh();
}

// Reads `b`, changes it where the peak lies behind, and reads it again.
Tensor changed(const Tensor& x, Tensor b) {
  const Tensor r = b.sum();
  Tensor t = matmul(x, x), u = matmul(t, x), v = matmul(u, t);
  const Tensor q = (t * u * v).sum();
  t = u = v = Tensor();
  b.add_(1);
  const Tensor r1 = softmax(b, -1).sum(), r2 = b.sum();
  b = Tensor();
  return r + q + r1 + r2;
}

}  // namespace

TEST_CASE("a training step that reads its loss before backward has the bits of eager") {
  manual_seed(1);
  struct Net : nn::Layer<Net> {
    nn::Linear in{*this, "in", 128, 512};
    nn::LayerNorm norm{*this, "norm", 512};
    nn::Linear mid{*this, "mid", 512, 512}, out{*this, "out", 512, 128};
    Tensor forward(const Tensor& x) { return out(mid(norm(gelu(in(x)))).tanh()); }
  };
  Net net, twin;
  twin.load_state_dict(net.state_dict());
  const Tensor x = randn({256, 128}), y = randn({256, 128});
  optim::SGD own(net.parameters(), {.lr = 1e-2}), other(twin.parameters(), {.lr = 1e-2});
  const auto step = [&](Net& m, optim::Optimizer& o) {
    o.zero_grad();
    Tensor loss = mse_loss(m(x), y);
    if (loss.item<float>() > 1e9) return loss.detach();
    loss.backward();
    o.step();
    return loss.detach();
  };
  auto fast = compile([&] { return step(net, own); }, {.on_fallback = OnFallback::silent});
  for (int i = 0; i < 5; ++i) {
    CHECK(same_bits(fast(), step(twin, other)));
    for (const auto& [name, p] : net.state_dict()) CHECK(same_bits(p.detach(), twin.state_dict().find(name)->detach()));
  }
}

TEST_CASE("what the first part of a call made, the second reads, drops and changes in place") {
  SECTION("kernels in another order") {
    check_calls([](const Tensor& x) {
      Tensor h = (x * 2 + 1).tanh(), h2 = (x * 3 - 1).tanh();
      const double s = h.sum().item<float>();
      const Tensor d = reordered(x, std::move(h), std::move(h2)) * s;
      return std::vector<Tensor>{d.sum({.dim = {0}})};
    });
  }
  SECTION("results that could be computed again") {
    check_calls([](const Tensor& x) {
      Tensor b = (x * 2 + 1).tanh();
      const double s = first(b);
      return std::vector<Tensor>{changed(x, std::move(b)) + s};
    });
  }
  SECTION("a part of a block of results, the last that is held") {
    check_calls([](const Tensor& x) {
      Tensor h = products(x);
      const double s = first(h);
      const Tensor a = matmul(h, x);
      h = Tensor();
      const Tensor c = tensor(std::vector<float>(280 * kN, 3.0F));
      return std::vector<Tensor>{(a + s).sum({.dim = {0}}) + c.sum()};
    });
  }
}

TEST_CASE("what the host writes in a call is there when kernels read it") {
  const std::vector<float> low(kN * kN, 0.3F), high(kN * kN, 0.7F);
  SECTION("dropped in the call") {
    check_calls([&](const Tensor& x) {
      Tensor h = tensor(low).view({kN, kN}), h2 = tensor(high).view({kN, kN});
      return std::vector<Tensor>{reordered(x, std::move(h), std::move(h2)).sum({.dim = {0}})};
    });
  }
  SECTION("changed in place") {
    check_calls([&](const Tensor& x) { return std::vector<Tensor>{changed(x, tensor(low).view({kN, kN}))}; });
  }
  SECTION("a result") {
    check_calls([&](const Tensor& x) {
      const Tensor c = tensor(high), h = products(x);
      return std::vector<Tensor>{h.view({-1}) + c, c};
    });
  }
  SECTION("a result, in some calls") {
    int n = 0;
    const auto f = [&](const Tensor& x) {
      const bool by_host = n++ / 4 % 2;  // two calls each, and eager's
      Tensor made = empty({kN, kN}), ones = empty({kN, kN});
      if (by_host)
        std::fill_n(static_cast<float*>(made.data_ptr()), made.numel(), 2.5F);
      else
        made.fill_(2.5);
      const Tensor h = matmul(matmul(matmul(x, x).exp(), x).tanh(), x);
      ones.copy_(h.sum({.dim = 0}));
      made.add_(ones);
      return std::vector<Tensor>{made, matmul(matmul(h, x), x), ones};
    };
    for (int turn = 0; turn < 2; ++turn) check_calls(f);
  }
}
