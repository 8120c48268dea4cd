// A user's file: two ops of its own, one pointwise, one structured.
#include "autograd/custom_op.h"
#include "core/thread_state.h"

#include "autograd/autograd.h"
#include "autograd/gradcheck.h"
#include "autograd/node.h"
#include "core/ops/copy.h"
#include "core/ops/reduce.h"
#include "core/ops/scan.h"
#include "tests/catch.h"

// clang-format off
WEFT_REGISTER_OP(Snake, snake,
struct Snake : Pointwise<1, 1> {
  static constexpr const char* schema = "input, alpha=1.0";
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T> WEFT_FN static T forward(T x, T alpha) { return x + sin(alpha * x) * sin(alpha * x) / alpha; }
  template <class T> WEFT_FN static T backward(T g, T x, T, T alpha) { return g * (T(1) + T(2) * sin(alpha * x) * cos(alpha * x)); }
});

WEFT_REGISTER_OP(Gate, smooth_gate,
struct Gate : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kA | kB, kY};
  template <class T> WEFT_FN static T forward(T a, T b) { return a * tanh(b) * exp(a); }
  template <class T> WEFT_FN static T backward_a(T g, T a, T b, T) { return g * tanh(b) * exp(a) * (T(1) + a); }
  template <class T> WEFT_FN static T backward_b(T g, T a, T b, T) { T h = tanh(b); return g * a * exp(a) * (T(1) - h * h); }
});
// clang-format on

using namespace weft;
using Catch::Matchers::Contains;

namespace {

// A structured op: running sums of a 1-dim tensor, from the back.
struct SuffixSum {
  static const OpRecord record;
};
Tensor suffix_sum(const Tensor& x) {
  Tensor in[1] = {x.contiguous()}, out = empty_like(in[0]);
  dispatch(SuffixSum::record, in, out, NoAttrs{});
  return out;
}
void suffix_sum_kernel(const OpCall& c) {
  const double* x = c.in[0].data<double>();
  double* y = c.out[0].data<double>();
  double sum = 0;
  for (int64_t i = c.in[0].numel() - 1; i >= 0; --i) y[i] = sum += x[i];
}
void suffix_sum_rule(Node&, const Tensor* g, Tensor* gin) { gin[0] = g[0].cumsum(0); }
const OpRecord SuffixSum::record{.name = "suffix_sum", .cpu = suffix_sum_kernel, .rule = suffix_sum_rule};

Tensor values(const Dims& sizes) {
  return linspace(-1.2, 1.4, checked_numel(sizes, "test"), {.dtype = DType::f64}).view(sizes).clone();
}

}  // namespace

TEST_CASE("a user's op works on any dtype and layout") {
  Tensor x = values({3, 4});
  Tensor expected = x + (x * 0.5).sin().square() / 0.5;
  CHECK((snake(x, 0.5) - expected).abs().max().item<double>() < 1e-14);
  CHECK((snake(x.t(), 0.5) - expected.t()).abs().max().item<double>() < 1e-14);
  CHECK(snake(x.to(DType::bf16), 0.5).dtype() == DType::bf16);
  CHECK(snake(tensor(std::vector<int64_t>{1, 2}), 0.5).dtype() == DType::f32);
  CHECK(snake(x.slice(1, 0, 0), 0.5).numel() == 0);
  CHECK(smooth_gate(x, x.slice(0, 1, 2)).sizes() == Dims{3, 4});
  Tensor y = x.clone(), z = empty({0}, {.dtype = DType::f64});
  CHECK(snake.inplace(y, 0.5).is_same(y));
  snake.out(z, x, 0.5);
  CHECK(y.eq(z).all().item<bool>());
}

TEST_CASE("a user's op has gradients of every order") {
  Tensor x = values({2, 3}).t().set_requires_grad(true), b = values({2}).set_requires_grad(true);
  TensorFunction f = [](const std::vector<Tensor>& in) { return std::vector<Tensor>{snake(in[0], 0.7)}; };
  CHECK(gradcheck(f, {x}));
  CHECK(gradgradcheck(f, {x}));
}

TEST_CASE("a user's op of two tensors broadcasts its gradients; needs that are too small are found") {
  Tensor a = values({2, 3}).set_requires_grad(true), b = values({3}).set_requires_grad(true);
  TensorFunction first = [&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{smooth_gate(in[0], b.detach())};
  };
  CHECK(gradcheck(first, {a}));
  CHECK(gradgradcheck(first, {a}));
  // smooth_gate declares that the gradient of its second input reads y alone, which is false.
  TensorFunction second = [&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{smooth_gate(a.detach(), in[0])};
  };
  CHECK_THROWS_WITH(gradcheck(second, {b}), Contains("gradcheck"));
}

TEST_CASE("a user's op is called by name and keeps its text") {
  Tensor x = values({4});
  CHECK(call("snake", {x}).as_tensor().eq(snake(x, 1.0)).all().item<bool>());
  // Registering one, before main(), leaves the others there.
  CHECK(equal(call("ones", {Value(std::vector<int64_t>{2})}).as_tensor(), ones({2})));
  CHECK(call("snake", {x}, {{"alpha", Value(0.25)}}).as_tensor().eq(snake(x, 0.25)).all().item<bool>());
  Tensor y = x.clone();
  call("snake_", {y});
  CHECK(y.eq(snake(x, 1.0)).all().item<bool>());
  const CustomOpSource* source = find_custom_op("snake");
  REQUIRE(source);
  CHECK_THAT(std::string(source->text), Contains("x + sin(alpha * x) * sin(alpha * x) / alpha"));
  CHECK(source->info->params == 1);
  CHECK(source->record == "Snake");
  CHECK(find_custom_op("relu") == nullptr);
  CHECK_THROWS_WITH(
      detail::register_custom_op({source->info, source->record, "other text"}, {"snake", "input", nullptr}),
      Contains("registered twice"));
  CHECK_THROWS_WITH(detail::register_custom_op({source->info, "", ""}, {"relu", "input", nullptr}),
                    Contains("relu is the name"));
}

TEST_CASE("a user's structured op") {
  const DefaultDevice host("cpu");
  Tensor x = values({5}).set_requires_grad(true);
  CHECK(suffix_sum(tensor({1, 2, 3}, {.dtype = DType::f64}))
            .eq(tensor({6, 5, 3}, {.dtype = DType::f64}))
            .all()
            .item<bool>());
  TensorFunction f = [](const std::vector<Tensor>& in) { return std::vector<Tensor>{suffix_sum(in[0] * in[0])}; };
  CHECK(gradcheck(f, {x}));
  CHECK(gradgradcheck(f, {x}));
}
