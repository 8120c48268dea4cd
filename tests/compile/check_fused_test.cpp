// WEFT_CHECK_FUSED=1 names fused kernels that do not give what their ops give one by one.
#include <atomic>

#include "autograd/custom_op.h"
#include "compile/compile.h"
#include "tests/catch.h"
#include "tests/compile/twins.h"
#include "tests/environment.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;
using weft::test::EnvironmentVariable;
using weft::test::Twins;

namespace {
std::atomic<int> runs = 0;  // of an op that is no function: each element of each run gives another value

struct Net : nn::Layer<Net> {
  nn::Linear in{*this, "in", 96, 96};
  nn::RMSNorm norm{*this, "norm", 96};
  Tensor forward(const Tensor& x) { return norm(x + gelu(in(x)) * 0.5).softmax(-1); }
};

}  // namespace

WEFT_REGISTER_OP(
    Unsteady, unsteady, struct Unsteady
    : Pointwise<1> {
      static constexpr Dtypes dtypes = Dtypes::floating;
      static constexpr unsigned needs[1] = {0};
      template <class T>
      static T forward(T x) {
        return x + T(runs.fetch_add(1) % 7);
      }
      template <class T>
      static T backward(T g, T, T) {
        return g;
      }
    });

TEST_CASE("fused kernels that give other bits than their ops are named") {
  const EnvironmentVariable check("WEFT_CHECK_FUSED", "1");
  const auto good = [](const Tensor& x) { return (x * 2 + 1).tanh(); };
  const auto bad = [](const Tensor& x) { return (unsteady(x * 2) + 1).cumsum(0).exp() * 0.5; };
  for (CompileMode mode : {CompileMode::default_, CompileMode::reduce_overhead, CompileMode::max_autotune}) {
    auto fast = compile([&](const Tensor& x) { return good(x) + bad(x); }, {.mode = mode});
    const Tensor x = randn({50, 40});
    for (int i = 0; i < 6; ++i) fast(x);
    CHECK(fast.stats().direct == 0);
    const std::string report = fast.report();
    CAPTURE(report);
    CHECK_THAT(report, Contains("a fused kernel gives other bits than its ops one by one: fused: ") &&
                           Contains("first difference: element 0 of "));
    const size_t said = report.find("a fused kernel gives");
    const std::string line = report.substr(said, report.find('\n', said) - said);
    CHECK_THAT(line, Contains("unsteady"));
    CHECK_THAT(line, !Contains("exp"));
    CHECK(report.find("a fused kernel gives", said + 1) == std::string::npos);
  }
}

TEST_CASE("nothing is said of fused kernels that are right") {
  const EnvironmentVariable check("WEFT_CHECK_FUSED", "1");
  for (const char* native : {"0", "wait"}) {
    const EnvironmentVariable code("WEFT_NATIVE", native);
    const EnvironmentVariable rows("WEFT_FUSE_ROWS", "always");
    manual_seed(1);
    Twins<Net, optim::AdamW> twins(randn({200, 96}));
    auto fast = compile([&] { return twins.step(); });
    for (int i = 0; i < 6; ++i) CHECK(same_bits(fast(), twins.eager_step()));
    const std::string report = fast.report();
    CAPTURE(report);
    CHECK_THAT(report, Contains("fused") && !Contains("other bits"));
    CHECK(twins.same_state());
  }
}
