// Which recordings are kept when there are more kinds of calls than compile() keeps.
#include "compile/compile.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;

namespace {

// Enough to fuse that calls go on waiting.
Tensor chain(const Tensor& x) { return ((x * 2 + 1).tanh() * 3 - x).sigmoid() * x + 2; }

}  // namespace

TEST_CASE("recordings of an earlier phase do not push out those of the present one") {
  auto fast = compile(chain, {.recordings = 4});
  const auto run = [&](int64_t rows) {
    const Tensor x = full({rows, 4096}, 0.01 * static_cast<double>(rows));
    CHECK(same_bits(fast(x), chain(x)));
  };
  for (int i = 0; i < 40; ++i)
    for (int64_t rows : {1, 2, 3, 4}) run(rows);
  CHECK(fast.stats().recorded == 4);
  for (int i = 0; i < 40; ++i)
    for (int64_t rows : {5, 6, 7}) run(rows);
  CHECK(fast.stats().recorded < 4 + 3 * 10);
}

TEST_CASE("calls that go round in a circle, one kind more than recordings are kept: most of them match") {
  auto fast = compile(chain, {.recordings = 8});
  for (int i = 0; i < 30; ++i)
    for (int64_t rows = 1; rows <= 9; ++rows) {
      const Tensor x = full({rows, 4096}, 0.01 * static_cast<double>(rows));
      CHECK(same_bits(fast(x), chain(x)));
    }
  CHECK(fast.stats().recorded < 270 / 2);
}
