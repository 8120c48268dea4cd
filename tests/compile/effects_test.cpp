// What compiled functions do beside computing results: changes of inputs, memory that overlaps, errors in the middle.
#include "compile/compile.h"
#include "core/allocator.h"
#include "core/error.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;

namespace {

const CompileOptions kSilent{.on_fallback = OnFallback::silent};

}  // namespace

TEST_CASE("running statistics that change in the middle are read as they are then") {
  manual_seed(5);
  const auto shared = [](const Tensor& x, Tensor mean, Tensor var) {
    Tensor a = exp(mean);
    const Tensor c = a * 3.0;
    a = Tensor();
    const Tensor y = batch_norm(x, mean, var, {.training = true, .momentum = 0.5});
    return y + exp(mean) + c;
  };
  const auto again = [](const Tensor& x, Tensor mean, Tensor var) {
    const Tensor big = x + mean, p = sum(big * big, {.dim = 0});
    const Tensor y = batch_norm(x, mean, var, {.training = true, .momentum = 0.5});
    const Tensor z = matmul(y.t(), x), q = matmul(x, z), q2 = matmul(q, z), q3 = matmul(q2, z) + q2;
    return q3 * 1e-9 + big + p;
  };
  const auto evaluated = [](const Tensor& x, Tensor mean, Tensor var) {
    const Tensor y = batch_norm(x, mean, var, {.training = mean.version() % 2 == 0, .momentum = 0.5});
    return y + mean.exp();
  };
  const auto compare = [](auto f, int64_t rows, int64_t channels) {
    for (CompileMode mode : {CompileMode::default_, CompileMode::reduce_overhead}) {
      auto fast = compile(f, {.mode = mode, .on_fallback = OnFallback::silent, .verify_every = 0});
      Tensor mean = zeros({channels}), var = ones({channels}), own_mean = zeros({channels}), own_var = ones({channels});
      for (int call = 0; call < 6; ++call) {
        const Tensor x = randn({rows, channels});
        CHECK(same_bits(fast(x, own_mean, own_var), f(x, mean, var)));
        CHECK(same_bits(own_mean, mean));
        CHECK(same_bits(own_var, var));
        CHECK(own_mean.version() == mean.version());
      }
    }
  };
  compare(shared, 8, 64);
  compare(shared, 8, 8192);
  compare(again, 1024, 512);
  compare(evaluated, 8, 64);
}

TEST_CASE("memory of others that overlaps: the order of the program") {
  for (int64_t n : {1000, 10000, 100000}) {
    std::vector<float> own(static_cast<size_t>(n), 0.5f), other = own;
    const auto f = [](const Tensor& x, Tensor y) {
      Tensor a = exp(x);
      const Tensor c = a * 2;
      a = Tensor();
      y.add_(1);
      return c + exp(x) * 3;
    };
    auto fast = compile(f, kSilent);
    for (int call = 0; call < 4; ++call) {
      const Tensor now = fast(from_blob(own.data(), {n}), from_blob(own.data(), {n}));
      CHECK(same_bits(now, f(from_blob(other.data(), {n}), from_blob(other.data(), {n}))));
    }
  }
}

TEST_CASE("an error where calls part ways: what ran before it ran once") {
  Tensor x = zeros({64, 64});
  const Tensor table = rand({10, 4});
  const auto f = [&](const Tensor& index, bool doubled) {
    x.add_(1);
    const Tensor y = embedding(index, table);
    return doubled ? y * 2 : y + 3;
  };
  auto fast = compile(f, kSilent);
  const Tensor good = tensor({1, 2, 3}, {.dtype = DType::i64}), bad = tensor({1, 2, 99}, {.dtype = DType::i64});
  fast(good, true);
  CHECK_THROWS_AS(fast(bad, false), Error);
  CHECK(same_bits(x, full({64, 64}, 2.0)));
  CHECK(same_bits(fast(good, true), f(good, true)));
  CHECK(same_bits(fast(good, false), f(good, false)));
}

TEST_CASE("memory is counted of tensors that no op touches") {
  const Tensor x = rand({300, 300});
  auto fast = compile(
      [&](bool multiply) {
        if (!multiply) return empty({300, 300});
        const Tensor t = x.matmul(x);
        return t.matmul(x);
      },
      kSilent);
  fast(true);
  fast(true);
  const int64_t before = memory_stats().allocated;
  for (int i = 0; i < 10; ++i) {
    const Tensor t = fast(false);
    CHECK(memory_stats().allocated >= before + static_cast<int64_t>(t.nbytes()));
  }
  CHECK(memory_stats().allocated == before);
}
