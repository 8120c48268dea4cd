#include "autograd/function.h"

#include "autograd/autograd.h"
#include "autograd/gradcheck.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"
#include "tests/catch.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

struct Cube : Function<Cube> {
  static Tensor forward(Context& c, const Tensor& x) {
    c.save_for_backward({x});
    return x * x * x;
  }
  static std::vector<Tensor> backward(Context& c, const std::vector<Tensor>& g) {
    Tensor x = c.saved()[0];
    return {g[0] * 3 * x * x};
  }
};

// Two outputs, one without a gradient; a number and a list of tensors among the arguments.
struct ScaledSum : Function<ScaledSum> {
  static std::vector<Tensor> forward(Context& c, const std::vector<Tensor>& x, double scale) {
    c.data["scale"] = scale;
    Tensor sum = x[0] + x[1] * scale, positive = (sum > 0).to(DType::f64);
    c.mark_non_differentiable({positive});
    c.save_for_backward({sum});
    return {sum, positive};
  }
  static std::vector<Tensor> backward(Context& c, const std::vector<Tensor>& g) {
    CHECK(c.needs_input_grad(0));
    CHECK_FALSE(c.needs_input_grad(2));
    CHECK(g[1].sum().item<double>() == 0);  // materialized
    double scale = std::any_cast<double>(c.data["scale"]);
    return {g[0], g[0] * scale, Tensor()};
  }
};

struct Doubled : Function<Doubled> {
  static Tensor forward(Context& c, const Tensor& x) {
    Tensor self = x;
    self.mul_(2);
    c.mark_dirty({self});
    return self;
  }
  static std::vector<Tensor> backward(Context&, const std::vector<Tensor>& g) { return {g[0] * 2}; }
};

struct TooMany : Function<TooMany> {
  static Tensor forward(Context&, const Tensor& x) { return x * 2; }
  static std::vector<Tensor> backward(Context&, const std::vector<Tensor>& g) { return {g[0], g[0]}; }
};
struct WrongShape : Function<WrongShape> {
  static Tensor forward(Context&, const Tensor& x) { return x.sum(); }
  static std::vector<Tensor> backward(Context&, const std::vector<Tensor>&) {
    return {ones({7}, {.dtype = DType::f64})};
  }
};
struct Same : Function<Same> {
  static Tensor forward(Context&, const Tensor& x) { return x; }
  static std::vector<Tensor> backward(Context&, const std::vector<Tensor>& g) { return {g[0] * 5}; }
};

Tensor leaf(std::initializer_list<double> v) { return tensor(v, {.dtype = DType::f64, .requires_grad = true}); }

}  // namespace

TEST_CASE("custom functions give gradients of every order") {
  Tensor x = leaf({-1.5, 0.5, 2});
  TensorFunction cube = [](const std::vector<Tensor>& in) { return std::vector<Tensor>{Cube::apply(in[0])}; };
  CHECK(gradcheck(cube, {x}));
  CHECK(gradgradcheck(cube, {x}));
  // An f32 output is refused before a weight is written for it.
  TensorFunction narrow = [](const std::vector<Tensor>& in) { return std::vector<Tensor>{in[0].to(DType::f32).sin()}; };
  CHECK_THROWS_WITH(gradgradcheck(narrow, {x}), Contains("has another dtype than"));
  CHECK_THAT(Cube::apply(x).grad_fn_name(), Contains("Cube"));
  NoGrad guard;
  CHECK_FALSE(Cube::apply(x).requires_grad());
}

TEST_CASE("custom functions with several arguments and outputs") {
  Tensor a = leaf({1, -4}), b = leaf({2, 1});
  auto out = ScaledSum::apply(std::vector<Tensor>{a, b}, 3.0);
  CHECK(out[0].requires_grad());
  CHECK_FALSE(out[1].requires_grad());
  out[0].sum().backward();
  CHECK(a.grad().eq(1).all().item<bool>());
  CHECK(b.grad().eq(3).all().item<bool>());
}

TEST_CASE("custom functions: inputs changed in place, inputs returned, saved values") {
  Tensor x = leaf({1, 2});
  Tensor y = x * 3;
  Tensor z = Doubled::apply(y);
  CHECK(z.is_same(y));
  z.sum().backward();
  CHECK(x.grad().eq(6).all().item<bool>());
  CHECK_THROWS_WITH(Doubled::apply(x), Contains("Doubled") && Contains("leaf"));

  // A view marked dirty changes the base's history.
  Tensor w = leaf({1, 2, 3}), base = w * 1;
  Doubled::apply(base.slice(0, 1, 3));
  base.sum().backward();
  CHECK(w.grad().eq(tensor({1, 2, 2}, {.dtype = DType::f64})).all().item<bool>());

  Tensor s = Same::apply(leaf({1}));
  CHECK(s.grad_fn_name().find("Same") != std::string::npos);

  Tensor v = leaf({1, 2}), u = v * 1, c = Cube::apply(u);
  u.add_(1);
  CHECK_THROWS_WITH(c.sum().backward(), Contains("Cube") && Contains("add"));
}

TEST_CASE("custom functions: wrong gradients are named") {
  Tensor x = leaf({1, 2});
  CHECK_THROWS_WITH(TooMany::apply(x).sum().backward(),
                    Contains("TooMany") && Contains("2 gradients") && Contains("1 arguments"));
  CHECK_THROWS_WITH(WrongShape::apply(x).backward(), Contains("WrongShape") && Contains("[7]") && Contains("[2]"));
  Tensor y = Cube::apply(x).sum();
  y.backward();
  CHECK_THROWS_WITH(y.backward(), Contains("freed") && Contains("retain_graph"));
}

TEST_CASE("gradcheck finds a wrong gradient and says where") {
  struct Wrong : Function<Wrong> {
    static Tensor forward(Context&, const Tensor& x) { return x * 2; }
    static std::vector<Tensor> backward(Context&, const std::vector<Tensor>& g) {
      return {g[0] * tensor({2, 2.5}, {.dtype = DType::f64})};
    }
  };
  Tensor x = leaf({1, 2});
  TensorFunction f = [](const std::vector<Tensor>& in) { return std::vector<Tensor>{Wrong::apply(in[0])}; };
  CHECK_THROWS_WITH(gradcheck(f, {x}), Contains("output 0 element [1]") && Contains("input 0 element [1] is 2.5") &&
                                           Contains("differences give 2"));
  Tensor single = tensor({1.0}, {.requires_grad = true});
  CHECK_THROWS_WITH(gradcheck(f, {single}), Contains("f64"));
  TensorFunction product = [](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{in[0] * in[1], in[0].exp()};
  };
  Tensor t = leaf({0.3, 0.7, 1.1, 2}).detach().view({2, 2}).t().set_requires_grad(true);  // strided
  CHECK(gradcheck(product, {t, leaf({2, 3})}));
  CHECK(gradgradcheck(product, {t, leaf({2, 3})}));
}
