#include "compile/row_group.h"

#include <cstdlib>
#include <functional>

#include "autograd/autograd.h"
#include "compile/compile.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/compile/no_gaps.h"
#include "tests/environment.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

/// Groups of rows whatever they gain: tensors of a test are small.
struct Always : test::EnvironmentVariable {
  Always() : EnvironmentVariable("WEFT_FUSE_ROWS", "always") {}
};

using Tensors = std::vector<Tensor>;
using RowFunction = std::function<Tensors(const Tensors&)>;

bool same(const Tensors& a, const Tensors& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].defined() != b[i].defined() || (a[i].defined() && !same_bits(a[i], b[i]))) return false;
  return true;
}

// Three matched calls and, where `direct`, three that are replayed. Returns the report.
std::string check_bits(const RowFunction& f, const std::function<Tensors()>& inputs, bool direct = true) {
  const Always always;
  auto fast = compile(f);
  for (int call = 0; call < 3; ++call) {
    const Tensors in = inputs();
    const Tensors slow = f(in);
    CHECK(same(slow, fast(in)));
  }
  if (direct) {
    auto replayed = compile(f, {.mode = CompileMode::reduce_overhead, .pure = true});
    for (int call = 0; call < 7; ++call) {
      const Tensors in = inputs();
      const Tensors slow = f(in);
      CHECK(same(slow, replayed(in)));
    }
    if (kNoGaps) CHECK(replayed.stats().direct >= 2);
  }
  return fast.report();
}

std::function<Tensors()> random(std::vector<Dims> shapes, DType dtype = DType::f32) {
  return [=] {
    Tensors all;
    for (const Dims& s : shapes) all.push_back(randn(s, {.dtype = dtype}));
    return all;
  };
}

/// Of the sum of the first result, with respect to every floating input; after the results.
RowFunction gradients(const RowFunction& loss) {
  return [loss](const Tensors& given) {
    Tensors in;
    for (const Tensor& t : given) in.push_back(is_floating(t.dtype()) ? t.detach().clone() : t);
    for (Tensor& t : in)
      if (is_floating(t.dtype())) t.set_requires_grad(true);
    Tensors out = loss(in);
    out[0].sum().backward();
    for (Tensor& t : in)
      if (t.requires_grad()) out.push_back(t.grad());
    return out;
  };
}

struct Case {
  const char* kernels;  // as the report names them
  RowFunction f;
};

// x [..., n], r like x, w [n], in any floating dtype.
std::vector<Case> cases(int64_t n) {
  return {
      {"mul add softmax", [](const Tensors& t) { return Tensors{softmax(t[0] * 0.5 + t[1], -1)}; }},
      {"mul add softmax mul", [](const Tensors& t) { return Tensors{softmax(t[0] * 0.5 + t[2], -1) * t[1]}; }},
      {"log_softmax mul", [](const Tensors& t) { return Tensors{log_softmax(t[0], -1) * t[1]}; }},
      {"add normalize_rows gelu mul",
       [=](const Tensors& t) {
         return Tensors{gelu(layer_norm(t[0] + t[1], {n}, {.weight = t[2], .bias = t[2]})) * t[2]};
       }},
      {"add normalize_rows tanh",
       [=](const Tensors& t) {
         const Tensor h = t[0] + t[1];
         return Tensors{h, tanh(rms_norm(h, {n}, {.weight = t[2]}))};
       }},
      {"mul sum", [](const Tensors& t) { return Tensors{(t[0] * t[1]).sum({.dim = -1})}; }},
      {"mean sub", [](const Tensors& t) { return Tensors{t[0] - t[0].mean({.dim = -1, .keepdim = true})}; }},
      {"amax sub exp sum div",
       [](const Tensors& t) {
         const Tensor e = (t[0] - t[0].amax({.dim = -1, .keepdim = true})).exp();
         return Tensors{e / e.sum({.dim = -1, .keepdim = true})};
       }},
      {"abs prod log mul",
       [](const Tensors& t) {
         return Tensors{abs(t[0]).prod({.dim = -1}).log() * 2, t[1]};
       }},
      {"amin add",
       [](const Tensors& t) {
         return Tensors{t[0].amin({.dim = -1}) + 1, t[1]};
       }},
  };
}

}  // namespace

TEST_CASE("groups of rows have the bits of the kernels one by one") {
  for (const Dims& lead : {Dims{37}, Dims{2, 3}, Dims{3, 1, 5}})
    for (int64_t n : {1, 7, 50, 600, 5000}) {
      Dims sizes = lead;
      sizes.push_back(n);
      for (const Case& c : cases(n)) {
        CAPTURE(lead, n, c.kernels);
        const NoGrad guard;
        CHECK_THAT(check_bits(c.f, random({sizes, sizes, {n}}), n == 50), Contains(std::string("time: ") + c.kernels));
      }
    }
}

TEST_CASE("groups of rows of every floating dtype") {
  for (DType dtype : {DType::f64, DType::bf16, DType::f16})
    for (const Case& c : cases(33)) {
      CAPTURE(dtype, c.kernels);
      const NoGrad guard;
      CHECK_THAT(check_bits(c.f, random({{19, 33}, {19, 33}, {33}}, dtype)), Contains("rows at a time"));
    }
}

TEST_CASE("groups of rows on one thread and on two, past the caches") {
  const int before = num_threads();
  const NoGrad guard;
  const Always always;
  const Tensor x = randn({4100, 1030}), r = randn({4100, 1030});  // with the result more than caches hold
  const auto f = [](const Tensor& a, const Tensor& b) {
    const Tensor h = a + b;
    return std::vector<Tensor>{h, rms_norm(h, {1030}) * 2};
  };
  const Tensors slow = f(x, r);
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    auto fast = compile(f);
    fast(x, r);
    CHECK(same(slow, fast(x, r)));
    CHECK_THAT(fast.report(), Contains("rows at a time: add normalize_rows mul"));
  }
  set_num_threads(before);
}

TEST_CASE("gradients by rows") {
  const std::function<Tensors()> inputs = random({{13, 40}, {13, 40}, {40}});
  SECTION("softmax") {
    CHECK_THAT(check_bits(gradients([](const Tensors& t) { return Tensors{softmax(t[0] * t[1] + t[2], -1) * t[1]}; }),
                          inputs, false),
               Contains("softmax_backward"));
  }
  SECTION("log_softmax") {
    check_bits(gradients([](const Tensors& t) { return Tensors{log_softmax(tanh(t[0]), 1) * t[1]}; }), inputs, false);
  }
  SECTION("layer_norm and rms_norm without parameters") {
    CHECK_THAT(check_bits(gradients([](const Tensors& t) {
                            return Tensors{rms_norm(layer_norm(t[0] * t[1], {40}) * t[2], {40}) * t[1]};
                          }),
                          inputs, false),
               Contains("normalize_rows_backward mul_backward"));
  }
}

TEST_CASE("gradients of the parameters of norms are summed by rows") {
  const auto layer = [](int64_t n) {
    return gradients([n](const Tensors& t) {
      return Tensors{tanh(layer_norm(t[0] * t[1], {n}, {.weight = t[2], .bias = t[3]})) * t[1]};
    });
  };
  const char* by_rows = "tanh_backward normalize_rows_backward mul_backward mul_backward";
  SECTION("sizes: one chunk of rows, several, uneven ones, more than 32 of the least") {
    for (int64_t rows : {2, 16, 17, 300, 513, 1030})
      for (int64_t n : {1, 7, 600}) {
        CAPTURE(rows, n);
        CHECK_THAT(check_bits(layer(n), random({{rows, n}, {rows, n}, {n}, {n}}), false), Contains(by_rows));
      }
  }
  SECTION("dtypes") {
    for (DType dtype : {DType::f64, DType::bf16, DType::f16})
      CHECK_THAT(check_bits(layer(33), random({{70, 33}, {70, 33}, {33}, {33}}, dtype), false), Contains(by_rows));
  }
  SECTION("several leading dimensions, threads, weight alone, parameters alone") {
    const int before = num_threads();
    for (int threads : {1, 2}) {
      set_num_threads(threads);
      check_bits(layer(19), random({{5, 61, 19}, {5, 61, 19}, {19}, {19}}), false);
    }
    set_num_threads(before);
    const auto weight = [](const Tensors& t) {
      const Tensor h = rms_norm(t[0].detach() + 1, {40}, {.weight = t[2]});
      return Tensors{rms_norm(h * t[1], {40}, {.weight = t[2]}) * t[1]};
    };
    CHECK_THAT(check_bits(gradients(weight), random({{43, 40}, {43, 40}, {40}}), false),
               Contains("normalize_rows_backward mul_backward"));
  }
}

TEST_CASE("cross entropy by rows") {
  struct Loss {
    int64_t rows, classes;
    CrossEntropyOptions options;
    DType dtype = DType::f32;
  };
  const Tensor weight = rand({50}) + 0.5;
  std::vector<Loss> all;
  for (int64_t rows : {2, 13, 130})
    for (int64_t classes : {1, 7, 50, 700}) all.push_back({rows, classes, {}});
  for (Reduction how : {Reduction::mean, Reduction::sum, Reduction::none})
    for (DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      all.push_back({13, 50, {.weight = weight, .reduction = how}, dtype});
      all.push_back({13, 50, {.weight = weight, .ignore_index = 3, .reduction = how, .label_smoothing = 0.1}, dtype});
      all.push_back({29, 50, {.reduction = how}, dtype});
    }
  for (const Loss& l : all) {
    CAPTURE(l.rows, l.classes, l.dtype, static_cast<int>(l.options.reduction), l.options.label_smoothing);
    const std::function<Tensors()> floats = random({{l.rows, l.classes}, {l.classes}}, l.dtype);
    const auto inputs = [&] {
      Tensors given = floats();
      given.push_back(randint(0, l.classes, {l.rows}));
      given[2].narrow(0, 0, 1).fill_(std::min<int64_t>(3, l.classes - 1));
      return given;
    };
    const auto capped = [&](const Tensors& t) {
      return Tensors{cross_entropy(tanh((t[0] + t[1]) / 30) * 30, t[2], l.options) * 3};
    };
    const std::string report = check_bits(gradients(capped), inputs, false);
    CHECK_THAT(report, Contains("time: add div tanh mul cross_entropy") &&
                           Contains("class_loss_backward mul_backward tanh_backward"));
    CHECK_THAT(check_bits([&](const Tensors& t) { return Tensors{nll_loss(log_softmax(t[0], -1), t[2])}; }, inputs,
                          l.rows == 13),
               Contains("time: log_softmax nll_loss"));
  }
  const NoGrad guard;
  CHECK_THAT(check_bits([](const Tensors& t) { return Tensors{cross_entropy(t[0] * 2, t[1].argmax(1))}; },
                        random({{3, 4, 5}, {3, 4, 5}})),
             !Contains("rows at a time"));
}

TEST_CASE("a target that is no class stops a group of rows as it stops the kernel") {
  const NoGrad guard;
  const Always always;
  Tensor calls = zeros({1});
  const auto f = [&](const Tensor& x, const Tensor& target) {
    calls.add_(1);
    return cross_entropy(x * 2, target);
  };
  auto fast = compile(f);
  const Tensor x = randn({300, 60}), good = randint(0, 60, {300}), bad = good.clone();
  bad.narrow(0, 200, 1).fill_(60);
  const auto message = [&](auto& g) -> std::string {
    try {
      g(x, bad);
    } catch (const IndexError& e) {
      return e.what();
    }
    return "";
  };
  for (int call = 0; call < 3; ++call) CHECK(same_bits(f(x, good), fast(x, good)));
  const float before = calls.item<float>();
  const std::string eager = message(f), compiled = message(fast);
  CHECK_THAT(eager, Contains("target 60 is not a class"));
  CHECK(eager.substr(0, eager.find('\n')) == compiled.substr(0, compiled.find('\n')));
  CHECK(calls.item<float>() == before + 2);
  CHECK(same_bits(f(x, good), fast(x, good)));
  CHECK_THAT(fast.report(), Contains("time: mul cross_entropy"));
}

TEST_CASE("what is not by rows stays out of groups of rows") {
  const NoGrad guard;
  const auto apart = [](const RowFunction& f, std::vector<Dims> shapes) {
    CHECK_THAT(check_bits(f, random(std::move(shapes))), !Contains("rows at a time"));
  };
  // Another dimension, rows that are not contiguous, another number of rows, results that later rows would need.
  apart([](const Tensors& t) { return Tensors{softmax(t[0] * 2, 0) + 1}; }, {{9, 8}});
  apart([](const Tensors& t) { return Tensors{softmax(t[0].t(), -1)}; }, {{9, 8}});
  apart([](const Tensors& t) { return Tensors{(t[0] + t[1]).sum(), t[1]}; }, {{9, 8}, {9, 8}});
  apart([](const Tensors& t) { return Tensors{t[0].sum({.dim = -1}) + t[1]}; }, {{8, 8}, {8, 1}});
  apart(
      [](const Tensors& t) {
        const Tensor p = softmax(t[0], -1);
        return Tensors{p + p.t()};
      },
      {{8, 8}});
  apart([](const Tensors& t) { return Tensors{group_norm(t[0] * 2, 2)}; }, {{4, 6, 5}});
}

TEST_CASE("rows of one element are laid out in several ways") {
  const NoGrad guard;
  CHECK_THAT(check_bits(
                 [](const Tensors& t) {
                   const Tensor column = t[0].t(), parts = column / column.sum({.dim = -1, .keepdim = true});
                   return Tensors{t[1] * (parts + 0.5)};
                 },
                 random({{1, 100}, {100, 1}})),
             Contains("rows at a time"));
}

TEST_CASE("results of a group of rows that are held keep their values") {
  const NoGrad guard;
  const Always always;
  Tensors held;
  const auto f = [&](const Tensor& x) {
    const Tensor y = x * 2;
    const Tensor p = softmax(y, -1);
    held = {y, p};
    return p * x;
  };
  auto fast = compile(f);
  Tensors all, expected;
  for (int call = 0; call < 4; ++call) {
    const Tensor x = randn({21, 17});
    all.push_back(fast(x));
    all.insert(all.end(), held.begin(), held.end());
    expected.push_back(f(x));
    expected.insert(expected.end(), held.begin(), held.end());
  }
  CHECK(same(expected, all));
  CHECK_THAT(fast.report(), Contains("rows at a time: mul softmax mul"));
}

TEST_CASE("in-place steps in a group of rows") {
  const NoGrad guard;
  const auto text = check_bits(
      [](const Tensors& t) {
        Tensor y = softmax(t[0] * 2, -1);
        y.mul_(t[1]).add_(1);
        Tensor given = t[1].clone();
        given.add_(y);
        return Tensors{y, layer_norm(given, {12}), given};
      },
      random({{11, 12}, {11, 12}}));
  CHECK_THAT(text, Contains("rows at a time"));
}

TEST_CASE("another dimension of a square is another recording") {
  const NoGrad guard;
  const Always always;
  const auto f = [](const Tensor& x, int64_t dim) { return softmax(x * 2, dim) + 1; };
  auto fast = compile(f);
  for (int64_t dim : {1, 0, 1, 0, 1}) {
    const Tensor x = randn({16, 16});
    CHECK(same_bits(f(x, dim), fast(x, dim)));
  }
}

TEST_CASE("groups of rows are left alone where they gain nothing") {
  const NoGrad guard;
  auto small = compile([](const Tensor& x) { return (x * x).sum({.dim = -1}); });
  small(randn({64, 32}));
  CHECK_THAT(small.report(), !Contains("rows at a time"));
}
