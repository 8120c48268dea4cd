#include "core/ops/loss_api.h"

#include <cmath>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "tests/catch.h"

using namespace weft;

namespace {

Tensor random(const Dims& sizes) { return empty(sizes, {.dtype = DType::f64}).normal_(); }
double distance(const Tensor& a, const Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return a.detach().sub(b.detach()).abs().amax().item().f64();
}

// cross_entropy of class indices as a composite of public ops.
Tensor composite(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o) {
  const int64_t classes = x.size(1);
  Dims along = Dims::filled(x.dim(), 1);
  along[1] = classes;
  Tensor valid = target.ne(o.ignore_index).to(DType::f64);
  Tensor here = arange(classes).view(along).eq(target.unsqueeze(1)).to(DType::f64);
  Tensor w = (o.weight.defined() ? o.weight : ones({classes}, {.dtype = DType::f64})).view(along);
  Tensor minus = log_softmax(x, 1).neg().mul(w);
  Tensor own = minus.mul(here).sum({.dim = 1}), all = minus.sum({.dim = 1}).div(static_cast<double>(classes));
  Tensor losses = own.mul(1 - o.label_smoothing).add(all.mul(o.label_smoothing)).mul(valid);
  if (o.reduction == Reduction::none) return losses;
  if (o.reduction == Reduction::sum) return losses.sum();
  return losses.sum().div(here.mul(w).sum({.dim = 1}).mul(valid).sum());
}

}  // namespace

TEST_CASE("cross_entropy in one pass is the composite, with its first and second gradients") {
  for (const Dims& sizes : {Dims{6, 5}, Dims{4, 1500}, Dims{3, 4, 2, 3}}) {
    Dims places = sizes;
    places.erase(1);
    for (const char* reduction : {"mean", "sum", "none"})
      for (double smoothing : {0.0, 0.2})
        for (bool weighted : {false, true}) {
          CAPTURE(sizes.vec(), reduction, smoothing, weighted);
          Tensor x = random(sizes).set_requires_grad(true),
                 target = empty(places, {.dtype = DType::i64}).random_(0, sizes[1]);
          target.view({-1}).slice(0, 0, 2).fill_(1);
          CrossEntropyOptions o{.ignore_index = 1, .reduction = reduction, .label_smoothing = smoothing};
          if (weighted) o.weight = random({sizes[1]}).abs();
          auto run = [&](auto loss) {
            std::vector<Tensor> out{loss(x, target, o)};
            out.push_back(grad({out[0].mul(out[0]).sum()}, {x}, {.retain_graph = true})[0]);
            out.push_back(grad({out[0].mul(out[0]).sum()}, {x}, {.create_graph = true})[0]);
            out.push_back(grad({out[2].sin().sum()}, {x})[0]);
            return out;
          };
          const auto got = run(cross_entropy), want = run(composite);
          for (size_t i = 0; i < got.size(); ++i) {
            CAPTURE(i);
            REQUIRE(distance(got[i], want[i]) < 1e-10);
          }
          REQUIRE(
              distance(
                  nll_loss(log_softmax(x, 1), target, {.weight = o.weight, .ignore_index = 1, .reduction = reduction}),
                  cross_entropy(x, target, {.weight = o.weight, .ignore_index = 1, .reduction = reduction})) < 1e-10);
        }
  }
}

TEST_CASE("cross_entropy at its edges") {
  Tensor x = random({2, 3});
  CHECK_THROWS_AS(cross_entropy(x, tensor(std::vector<int64_t>{0, 3})), IndexError);
  CHECK_THROWS_AS(cross_entropy(x, tensor(std::vector<int64_t>{0, -1})), IndexError);
  CHECK_THROWS_AS(cross_entropy(x, tensor(std::vector<int64_t>{0})), Error);
  CHECK_THROWS_AS(cross_entropy(x, tensor(std::vector<int64_t>{0, 1}), {.reduction = "men"}), Error);
  CHECK(std::isnan(cross_entropy(x, tensor(std::vector<int64_t>{-100, -100})).item().f64()));
  // logits far from zero keep their differences
  CHECK(cross_entropy(tensor({1e4, 1e4 - 1}).view({1, 2}), tensor(std::vector<int64_t>{1})).item().f64() ==
        Approx(1 + std::log1p(std::exp(-1.0))));
  // probabilities that name one class each are class indices
  Tensor one_hot = tensor({0.0, 1.0, 0.0, 1.0, 0.0, 0.0}, {.dtype = DType::f64}).view({2, 3});
  CHECK(distance(cross_entropy(x, one_hot), cross_entropy(x, tensor(std::vector<int64_t>{1, 0}))) < 1e-12);
}

TEST_CASE("errors of the other losses") {
  Tensor x = random({2, 3});
  CHECK_THROWS_AS(binary_cross_entropy(x.add(5), x), Error);
  CHECK_THROWS_AS(binary_cross_entropy_with_logits(x, random({3})), Error);
  CHECK_THROWS_AS(huber_loss(x, x, {.delta = 0}), Error);
  CHECK_THROWS_AS(gaussian_nll_loss(x, x, x.abs().neg()), Error);
  CHECK_THROWS_AS(multi_margin_loss(x, tensor(std::vector<int64_t>{0, 3})), IndexError);
  CHECK(mse_loss(x, x, {.reduction = "sum"}).item().f64() == 0);
}
