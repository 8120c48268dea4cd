// Generated code: the bits of eager calls, and texts as they were approved.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "autograd/autograd.h"
#include "compile/code.h"
#include "compile/compile.h"
#include "compile/record_text.h"
#include "compile/state.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

using Tensors = std::vector<Tensor>;
using Body = std::function<Tensors(const Tensors&)>;

bool same(const Tensors& a, const Tensors& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].defined() != b[i].defined() || (a[i].defined() && !same_bits(a[i], b[i]))) return false;
  return true;
}

Tensors copies(const Tensors& in) {
  Tensors all;
  for (const Tensor& t : in) all.push_back(t.detach().clone());
  return all;
}

/// Matched calls, then replayed ones, the later ones by generated code. Functions may change their inputs. Returns the
/// report.
std::string check_bits(const Body& f, const std::function<Tensors()>& inputs, bool replay = true) {
  const test::EnvironmentVariable waiting("WEFT_NATIVE", "wait");
  auto fast = compile(f, {.on_fallback = OnFallback::silent});
  for (int call = 0; call < 4; ++call) {
    const Tensors in = inputs(), other = copies(in);
    const Tensors slow = f(in);
    CHECK(same(slow, fast(other)));
    CHECK(same(in, other));
  }
  if (replay) {
    auto direct = compile(f, {.mode = CompileMode::max_autotune, .on_fallback = OnFallback::silent, .pure = true});
    for (int call = 0; call < 7; ++call) {
      const Tensors in = inputs(), other = copies(in);
      const Tensors slow = f(in);
      CHECK(same(slow, direct(other)));
      CHECK(same(in, other));
    }
  }
  return fast.report();
}

std::function<Tensors()> random(std::vector<Dims> shapes, DType dtype = DType::f32) {
  return [=] {
    Tensors all;
    for (const Dims& s : shapes) all.push_back(randn(s).mul(3).to(dtype));
    return all;
  };
}

struct Named {
  const char* name;
  std::vector<Dims> shapes;
  DType dtype;
  Body f;
};

/// One of each kind of what texts hold. One op at a time: compilers order arguments as they like.
const std::vector<Named>& graphs() {
  static const std::vector<Named> all = {
      {"chain",
       {{100}, {100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors { return {((t[0] * t[1] + t[2]).relu() * 0.5 - t[0]).abs()}; }},
      {"doubles",
       {{100}, {100}},
       DType::f64,
       [](const Tensors& t) -> Tensors {
         const Tensor top = t[0].square() - t[1], bottom = t[1].square() + 1;
         return {top / bottom};
       }},
      {"integers",
       {{100}, {100}},
       DType::i64,
       [](const Tensors& t) -> Tensors {
         return {(t[0] * 3 - t[1]).abs().bitwise_and(t[0]), t[0].sign() + t[1]};
       }},
      {"small_integers",
       {{100}, {100}},
       DType::i8,
       [](const Tensors& t) -> Tensors {
         return {(t[0] * t[1]) + t[0], t[0].to(DType::f32) * 0.5 + t[1]};
       }},
      {"bf16",
       {{100}, {100}},
       DType::bf16,
       [](const Tensors& t) -> Tensors { return {(t[0] * 2 + t[1]).relu() * t[1]}; }},
      {"f16", {{100}, {100}}, DType::f16, [](const Tensors& t) -> Tensors { return {(t[0] - t[1]) / 3 + t[0]}; }},
      {"mixed_floats",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         const Tensor a = t[0].to(DType::bf16), b = t[1].to(DType::bf16), c = a * 2 + b;
         return {c, t[0].to(DType::f64) * 2 - t[1]};
       }},
      {"comparisons",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         const Tensor mask = (t[0] > t[1]).logical_and(t[1] < 1);
         return {mask, where(mask, t[0] * 2, t[1]), t[0].masked_fill(mask.logical_not(), -1)};
       }},
      {"truth_of_floats",
       {{100}, {100}},
       DType::bf16,
       [](const Tensors& t) -> Tensors {
         return {t[0].relu().logical_or(t[1]), t[1].logical_not()};
       }},
      {"nan_and_inf",
       {{100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         const Tensor x = t[0] / t[0].relu();
         return {x.isnan(), x.isfinite(), nan_to_num(x, 1, 2, 3)};
       }},
      {"bounds",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         const Tensor low = t[0].clamp_min(0.5), whole = t[1].floor();
         return {maximum(t[0], t[1]), minimum(t[0], t[1]).clamp(-1, 1), low + whole};
       }},
      {"rows_and_columns",
       {{6, 20}, {20}, {6, 1}, {}},
       DType::f32,
       [](const Tensors& t) -> Tensors { return {(t[0] * t[1] + t[1] - t[2]) * t[3] + t[2]}; }},
      {"exponential",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors { return {((t[0] * 2 - t[1]).exp() + t[1]) * 0.5}; }},
      {"value_across_two",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         const Tensor x = t[0] * t[1] + 1, y = x - t[1];
         const Tensor heavy = x.sin() * y, light = x * 2;
         return {heavy + light};
       }},
      {"double_exponentials",
       {{100}, {100}},
       DType::f64,
       [](const Tensors& t) -> Tensors { return {(sigmoid(t[0] * t[1]) - 1).tanh() * t[1]}; }},
      {"heavy_alone", {{100}}, DType::f32, [](const Tensors& t) -> Tensors { return {t[0].exp().tanh()}; }},
      {"called",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors { return {softplus((t[0] * 2 - t[1]).sin() + t[1]) * 0.5 + 1}; }},
      {"in_place",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         Tensor x = t[0];
         x.mul_(2).add_(t[1], 0.5);
         return {x - 1};
       }},
      {"gradient",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         Tensor x = t[0].detach(), y = t[1].detach();
         x.set_requires_grad(true);
         y.set_requires_grad(true);
         const Tensor first = (x * y).relu().square(), slope = leaky_relu(x / 2), out = first + slope * y.abs();
         return grad({out.sum()}, {x, y});
       }},
      {"losses",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         Tensor x = t[0].detach();
         x.set_requires_grad(true);
         const Tensor smooth = smooth_l1_loss(x, t[1], {.reduction = Reduction::none});
         const Tensor loss = smooth + huber_loss(x, t[1], {.reduction = Reduction::none});
         return {loss, grad({loss.sum()}, {x})[0]};
       }},
      {"two_outputs_of_one_loop",
       {{100}, {100}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         const Tensor sum = t[0] + t[1];
         return {sum, sum * sum - t[0]};
       }},
      {"same_loop_twice",
       {{100}, {7, 9}},
       DType::f32,
       [](const Tensors& t) -> Tensors {
         return {(t[0] * 2 + 1).relu(), (t[1] * 3 + 4).relu()};
       }},
  };
  return all;
}

graph::Generated generated(const Named& n) {
  auto state = detail::make_compiled({});
  manual_seed(1);
  const Tensors in = random(n.shapes, n.dtype)();
  {
    detail::CompiledCall call(*state);
    const Tensors out = n.f(in);
    call.finish();
  }
  REQUIRE(state->cache.entries.size() == 1);
  const graph::Entry& e = *state->cache.entries[0];
  return graph::generate(e.plan->graph(e.graph), *e.plan);
}

}  // namespace

TEST_CASE("generated loops are those that were approved") {
  // WEFT_APPROVE=1 build/bin/test_compile "generated loops*" writes them anew.
  const std::filesystem::path folder = std::filesystem::path(WEFT_SOURCE_DIR) / "tests/golden/generated";
  const bool approve = std::getenv("WEFT_APPROVE") != nullptr;
  for (const Named& n : graphs()) {
    CAPTURE(n.name);
    const std::string text = generated(n).loops;
    const std::filesystem::path path = folder / (std::string(n.name) + ".txt");
    if (approve) std::ofstream(path) << text;
    std::stringstream approved;
    approved << std::ifstream(path).rdbuf();
    CHECK(std::filesystem::exists(path));
    CHECK(text == approved.str());
  }
}

TEST_CASE("generated loops have the bits of eager calls, in any size") {
  manual_seed(2);
  for (const Named& n : graphs())
    for (int64_t size : {1, 511, 512, 513, 2100}) {
      CAPTURE(n.name, size);
      std::vector<Dims> shapes = n.shapes;
      for (Dims& s : shapes)
        for (int64_t& d : s)
          if (d == 100 || d == 20) d = size;
      const std::string report = check_bits(n.f, random(shapes, n.dtype), size == 513);
      if (std::string(n.name) != "heavy_alone" && size > 1) CHECK_THAT(report, Contains("generated code for"));
    }
}

TEST_CASE("generated loops have the same bits with any number of threads") {
  manual_seed(3);
  const test::EnvironmentVariable waiting("WEFT_NATIVE", "wait");
  const int before = num_threads();
  const Body f = [](const Tensors& t) -> Tensors {
    const Tensor x = (t[0] * t[1] + 1).relu() - t[2];
    return {x.sigmoid() * x + t[0], (x > 0).logical_and(t[0] < 1)};
  };
  auto fast = compile(f, {.mode = CompileMode::max_autotune, .pure = true});
  const Tensors in = random({{100003}, {100003}, {100003}})(), slow = f(in);
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    for (int call = 0; call < 4; ++call) CHECK(same(slow, fast(in)));
  }
  set_num_threads(before);
  CHECK_THAT(fast.report(), Contains("generated code for"));
}

TEST_CASE("generated loops over rows of any length, on pieces that begin inside of one") {
  manual_seed(8);
  const Body f = [](const Tensors& t) -> Tensors {
    const Tensor x = (t[0] * t[1] + t[2]).relu() - t[3];  // one loop
    return {x.sin() * t[1] + x * t[4], t[0].to(DType::bf16) * t[5]};
  };
  for (int64_t width : {255, 256, 513, 1000, 4097, 9000}) {
    CAPTURE(width);
    const int64_t rows = 70000 / width;
    const auto inputs = [&] {
      Tensors t = random({{rows, width}, {width}, {1, width}, {rows, 1}, {width}, {width}})();
      t[5] = t[5].to(DType::bf16);
      return t;
    };
    check_bits(f, inputs, false);
    check_bits([](const Tensors& t) -> Tensors { return {(t[0] * t[1] + t[2]).relu() - t[4]}; }, inputs, false);
  }
}

TEST_CASE("threads share generated code while it comes") {
  manual_seed(4);
  const test::EnvironmentVariable background("WEFT_NATIVE", "");
  const Body f = [](const Tensors& t) -> Tensors { return {((t[0] * 7 + t[1]).relu() - t[0] * 11).abs()}; };
  auto fast = compile(f);
  std::vector<int> wrong(2, 0);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < wrong.size(); ++i)
    threads.emplace_back([&, i] {
      const Tensors in = random({{700}, {700}})(), slow = f(in);
      for (int call = 0; call < 500; ++call) wrong[i] += !same(slow, fast(in));
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == std::vector<int>(2, 0));
}

TEST_CASE("generated loops inside groups of rows") {
  const test::EnvironmentVariable by_rows("WEFT_FUSE_ROWS", "always");
  manual_seed(5);
  const Body f = [](const Tensors& t) -> Tensors {
    const Tensor x = softmax((t[0] * 0.5 + t[1]).relu() - 1, -1);
    return {(x * 2 - t[0]).abs() + t[2], x};
  };
  const std::string report = check_bits(f, random({{37, 130}, {130}, {37, 1}}));
  CHECK_THAT(report, Contains("rows at a time") && Contains("generated code for 1 of 1 fused kernels"));
}

TEST_CASE("a tile that changes its dtype between loops") {
  manual_seed(6);
  // The first loop leaves bf16 in a tile, of which the second, after exp, makes f64 in what may be the same tile.
  const Body f = [](const Tensors& t) -> Tensors {
    const Tensor half = (t[0] * 2 + t[1]).to(DType::bf16) + 1;
    const Tensor heavy = half.exp();
    const Tensor wide = (half * 3).to(DType::f64) * 0.5 + 1;
    return {wide.exp() + heavy};
  };
  check_bits(f, random({{1500}, {1500}}));
}

TEST_CASE("WEFT_NATIVE=0: no generated code") {
  const test::EnvironmentVariable off("WEFT_NATIVE", "0");
  const Body f = [](const Tensors& t) -> Tensors { return {(t[0] * 2 + 1).relu()}; };
  auto fast = compile(f);
  const Tensors in = random({{600}})();
  for (int call = 0; call < 4; ++call) CHECK(same(f(in), fast(in)));
  CHECK_THAT(fast.report(), !Contains("generated code"));
}

TEST_CASE("every record has its text, and a weight") {
  namespace ops = pointwise_ops;
  using Weight = graph::RecordText::Weight;
  const auto weigh = [](std::initializer_list<const PointwiseInfo*> infos, Weight weight) {
    for (const PointwiseInfo* info : infos) {
      CAPTURE(info->name);
      REQUIRE(graph::record_text(info));
      CHECK(graph::record_text(info)->weight(-1) == weight);
    }
  };
  weigh({&ops::add, &ops::mul, &ops::where, &ops::relu, &ops::gt, &ops::clamp, &ops::smooth_l1_loss_none,
         &ops::bitwise_and, &ops::isclose},
        Weight::light);
  weigh({&ops::exp, &ops::tanh, &ops::gelu, &ops::silu, &ops::logit, &ops::elu}, Weight::heavy);
  weigh({&ops::pow, &ops::softplus, &ops::remainder, &ops::gcd, &ops::sin, &ops::hypot}, Weight::called);
  CHECK(graph::record_text(&ops::tanh)->weight(0) == Weight::light);
  CHECK(graph::record_text(&ops::gelu)->weight(0) == Weight::called);  // erf and exp
  CHECK(graph::record_text(&ops::gelu_tanh)->weight(0) == Weight::heavy);
  CHECK(graph::record_text(&ops::add)->text.starts_with("struct Add : Pointwise<2, 1> {"));
  CHECK(graph::record_text(&ops::add)->text.ends_with("\n};\n"));
}

TEST_CASE("a compiler is asked for what it can make up for") {
  const test::EnvironmentVariable normally("WEFT_NATIVE", "");
  const auto f = [](const Tensor& x) { return (x * 3 + 1).sigmoid() * x; };
  const auto asked = [&](int64_t numel, int calls) {
    const Tensor x = randn({numel});
    auto fast = compile(f, {.mode = CompileMode::reduce_overhead});
    for (int i = 0; i < calls; ++i) fast(x);
    const CompileStats s = fast.stats();
    return s.building + s.with_code > 0 || fast.report().find("generated code") != std::string::npos;
  };
  CHECK_FALSE(asked(8, 50));  // saves a tenth of a microsecond a call
  CHECK(asked(1000000, 4));
}
