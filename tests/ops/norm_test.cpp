#include "core/ops/norm.h"

#include <cmath>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/copy.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/parallel.h"
#include "tests/catch.h"

using namespace weft;

namespace {

Tensor random(const Dims& sizes, DType dtype = DType::f64) { return empty(sizes, {.dtype = dtype}).normal_(); }
double distance(const Tensor& a, const Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return a.detach().sub(b.detach()).abs().amax().item().f64();
}

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

// The value against `plain`, a composite of public ops; gradients of both, fused and to be differentiated; second
// gradients.
void compare(const Function& fused, const Function& plain, std::vector<Tensor> inputs) {
  for (Tensor& t : inputs) t.set_requires_grad(true);
  auto run = [&](const Function& f) {
    std::vector<Tensor> out{f(inputs)};
    const Tensor seed = out[0].detach().sin();
    for (const Tensor& t : grad({out[0]}, inputs, {.grad_outputs = {seed}, .retain_graph = true})) out.push_back(t);
    const auto first = grad({out[0].sin().sum()}, inputs, {.create_graph = true});
    Tensor total = zeros({}, {.dtype = DType::f64});
    for (const Tensor& t : first) {
      out.push_back(t);
      total = total.add(t.cos().sum());
    }
    for (const Tensor& t : grad({total}, inputs)) out.push_back(t);
    return out;
  };
  const auto got = run(fused), want = run(plain);
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    REQUIRE(distance(got[i], want[i]) < 1e-9);
  }
}

Tensor plain_norm(const Tensor& x, const DimList& dims, double eps, bool centred) {
  const ReduceOptions over{.dim = dims, .keepdim = true};
  Tensor c = centred ? x.sub(x.mean(over)) : x;
  return c.div(c.mul(c).mean(over).add(eps).sqrt());
}

}  // namespace

TEST_CASE("softmax and log_softmax along any dimension") {
  for (int64_t dim : {0, 1, 2}) {
    auto parts = [dim](const std::vector<Tensor>& in) {
      return in[0].sub(in[0].amax({.dim = dim, .keepdim = true}).detach()).exp();
    };
    auto plain = [=](const std::vector<Tensor>& in) {
      Tensor e = parts(in);
      return e.div(e.sum({.dim = dim, .keepdim = true}));
    };
    const Tensor x = random({5, 37, 19});
    compare([=](const std::vector<Tensor>& in) { return softmax(in[0], dim); }, plain, {x});
    compare([=](const std::vector<Tensor>& in) { return log_softmax(in[0], dim); },
            [=](const std::vector<Tensor>& in) { return plain(in).log(); }, {x.transpose(0, 2)});
  }
  Tensor x = random({3, 4}, DType::bf16);
  CHECK(softmax(x, 1).dtype() == DType::bf16);
  CHECK(distance(softmax(x, 1, DType::f32), softmax(x.to(DType::f32), 1)) == 0);
  CHECK(softmax(zeros({2, 0}), 1).numel() == 0);
  CHECK(softmax(tensor({1000.0, 1000.0}), 0).select(0, 1).item<double>() == 0.5);
}

TEST_CASE("softmax has the same bits along every dimension and on every number of threads") {
  const int before = num_threads();
  Tensor x = random({70, 1300}, DType::f32), y = softmax(x, 1);
  set_num_threads(3);
  CHECK(softmax(x, 1).equal(y));
  CHECK(softmax(x.t().contiguous(), 0).t().equal(y));
  set_num_threads(before);
}

TEST_CASE("layer_norm, rms_norm") {
  const Tensor x = random({50, 3, 8}), w = random({3, 8}), b = random({3, 8});
  auto plain = [](const std::vector<Tensor>& in) {
    return plain_norm(in[0], {1, 2}, 1e-5, true).mul(in[1]).add(in[2]);
  };
  compare(
      [](const std::vector<Tensor>& in) {
        return layer_norm(in[0], {3, 8}, {.weight = in[1], .bias = in[2]});
      },
      plain, {x, w, b});
  compare(
      [](const std::vector<Tensor>& in) {
        return layer_norm(in[0], {3, 8}, {.bias = in[1]});
      },
      [](const std::vector<Tensor>& in) {
        return plain_norm(in[0], {1, 2}, 1e-5, true).add(in[1]);
      },
      {x, b});
  compare([](const std::vector<Tensor>& in) { return rms_norm(in[0], {8}, {.weight = in[1], .eps = 1e-3}); },
          [](const std::vector<Tensor>& in) { return plain_norm(in[0], {2}, 1e-3, false).mul(in[1]); },
          {x, random({8})});
  CHECK_THROWS_AS(layer_norm(x, {4}), Error);
  CHECK_THROWS_AS(layer_norm(x, {3, 8}, {.weight = random({8})}), Error);
  CHECK(layer_norm(zeros({0, 4}), {4}).sizes() == Dims{0, 4});
}

TEST_CASE("group_norm") {
  const Tensor x = random({4, 6, 3, 5}), w = random({6}), b = random({6});
  auto plain = [](const std::vector<Tensor>& in) {
    Tensor grouped = in[0].reshape({4, 2, 3, 15});
    return plain_norm(grouped, {2, 3}, 1e-5, true)
        .reshape({4, 6, 3, 5})
        .mul(in[1].view({6, 1, 1}))
        .add(in[2].view({6, 1, 1}));
  };
  compare([](const std::vector<Tensor>& in) { return group_norm(in[0], 2, {.weight = in[1], .bias = in[2]}); }, plain,
          {x, w, b});
  CHECK_THROWS_AS(group_norm(x, 4), Error);
  const Tensor empty = zeros({2, 4, 0}, {.requires_grad = true}), scale = ones({4}, {.requires_grad = true});
  group_norm(empty, 2, {.weight = scale}).sum().backward();
  CHECK(scale.grad().eq(0).all().item<bool>());
  CHECK(empty.grad().sizes() == Dims{2, 4, 0});
}

TEST_CASE("parameter gradients of layer_norm do not depend on the number of threads") {
  const int before = num_threads();
  Tensor x = random({1000, 33}, DType::f32), w = random({33}, DType::f32).set_requires_grad(true);
  Tensor y = layer_norm(x, {33}, {.weight = w});
  Tensor g = random({1000, 33}, DType::f32);
  set_num_threads(1);
  Tensor one = grad({y}, {w}, {.grad_outputs = {g}, .retain_graph = true})[0];
  set_num_threads(3);
  CHECK(grad({y}, {w}, {.grad_outputs = {g}})[0].equal(one));
  set_num_threads(before);
}
