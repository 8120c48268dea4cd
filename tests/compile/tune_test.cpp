// max_autotune: whatever is chosen has the bits of eager calls; what was chosen is kept and read again.
#include "compile/tune.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "compile/compile.h"
#include "compile/tune_store.h"
#include "core/code_cache.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/compile/no_gaps.h"
#include "tests/environment.h"
#include "tests/folder.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;
using graph::Contest;

namespace {

using Variable = test::EnvironmentVariable;

struct Threads {
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
  const int before = num_threads();
};

Tensor chain(const Tensor& x, const Tensor& row) { return gelu(x * row + 1.5, {.approximate = "tanh"}) * x.sigmoid(); }

// Calls until nothing is timed any more, each with the bits of an eager call.
template <class F>
void tune(F& fast, const Tensor& x, const Tensor& row) {
  const Tensor slow = chain(x, row);
  for (int64_t timed = -1, calls = 0; timed != fast.stats().timed; ++calls) {
    REQUIRE(calls < 400);
    timed = fast.stats().timed;
    for (int i = 0; i < 8; ++i) REQUIRE(same_bits(fast(x, row), slow));
  }
}

}  // namespace

TEST_CASE("a contest keeps what is there unless another way is clearly faster") {
  const auto play = [](std::vector<double> us, double noise) {
    Contest c(us.size());
    int runs = 0;
    for (; !c.decided(); ++runs) {
      REQUIRE(runs < 100);
      const size_t way = c.next();
      c.add(way, us[way] * (runs % 7 == 3 ? noise : 1));  // others use the machine now and then
    }
    return std::pair{c.winner(), runs};
  };
  CHECK(play({100, 80}, 1) == std::pair{size_t{1}, 10});
  CHECK(play({100, 98}, 1).first == 0);
  CHECK(play({100, 96}, 5).first == 1);
  CHECK(play({80, 100}, 9).first == 0);
  CHECK(play({100, 95, 60, 90, 300}, 3).first == 2);
  CHECK(play({100, 300, 300, 300}, 1) == std::pair{size_t{0}, 8});  // slow ways are out after two runs each
  CHECK(play({100}, 1).first == 0);

  // One lucky run is not enough.
  Contest lucky(2);
  for (int i = 0; !lucky.decided(); ++i) lucky.add(lucky.next(), i == 3 ? 90 : 100);
  CHECK(lucky.winner() == 0);
  CHECK(lucky.least(1) == 90);

  // Where no two times are alike, what is there stays.
  Contest wild(2);
  int runs = 0;
  for (; !wild.decided(); ++runs) wild.add(wild.next(), 100 * std::pow(1.2, (runs / 2 * 7) % 15) / (runs % 2 ? 2 : 1));
  CHECK(wild.winner() == 0);
  CHECK(runs == 30);
}

TEST_CASE("WEFT_TUNE says one thing, or is refused") {
  using graph::ToldChoice;
  CHECK_FALSE(ToldChoice::parse("").choice);
  CHECK(ToldChoice::parse("off").off);
  CHECK(ToldChoice::parse("tile=256,grain=8192,block=2,records").choice ==
        graph::Choice{.cut = {.tile = 256, .grain = 8192, .block = 2}, .records = true});
  for (const char* wrong : {"tile", "tile=0", "tile=-1", "tiles=2", "records=1", "tile=2,", "on"}) {
    INFO(wrong);
    CHECK_THROWS_WITH(ToldChoice::parse(wrong), Contains("WEFT_TUNE") && Contains(wrong));
  }
}

TEST_CASE("every way to run fused kernels has the bits of eager calls") {
  const Variable native("WEFT_NATIVE", "wait");
  const Variable rows("WEFT_FUSE_ROWS", "always");
  const auto ways = {"off",         "records", "tile=7,grain=1000", "tile=256",     "tile=1024",  "tile=4096",
                     "grain=70000", "block=1", "tile=2048,records", "tile=1000000", "grain=8192", "block=3"};
  struct Case {
    const char* name;
    std::function<Tensor(const Tensor&, const Tensor&)> f;
    Tensor a, b;
  };
  manual_seed(3);
  const std::vector<Case> cases{
      {"rows read in place", [](const Tensor& x, const Tensor& r) { return chain(x, r); }, randn({130, 515}),
       randn({515})},
      {"short rows", [](const Tensor& x, const Tensor& r) { return (x.exp() * r - 1).tanh() + r; }, randn({4100, 17}),
       randn({4100, 1})},
      {"bf16 and truth",
       [](const Tensor& x, const Tensor& r) {
         return logical_and(x * 2 + r, x > 0).to(DType::bf16) * (x - r).exp().to(DType::bf16);
       },
       randn({70001}), randn({70001})},
      {"groups of rows", [](const Tensor& x, const Tensor& r) { return (softmax(x * 0.5, -1) * r).sum({.dim = {-1}}); },
       randn({300, 70}), randn({300, 70})},
  };
  for (const Case& c : cases) {
    const Tensor slow = c.f(c.a, c.b);
    auto keeps = compile(c.f);  // its code, of which the others have the text
    for (int call = 0; call < 3; ++call) CHECK(same_bits(keeps(c.a, c.b), slow));
    for (const char* way : ways) {
      INFO(c.name << ", " << way);
      const Variable told("WEFT_TUNE", way);
      auto matched = compile(c.f, {.mode = CompileMode::max_autotune_no_cudagraphs});
      auto direct = compile(c.f, {.mode = CompileMode::max_autotune, .pure = true});
      for (int call = 0; call < 3; ++call) CHECK(same_bits(matched(c.a, c.b), slow));
      for (int call = 0; call < 6; ++call) CHECK(same_bits(direct(c.a, c.b), slow));
      CHECK_THAT(matched.report(), Contains("as WEFT_TUNE says"));
      CHECK(direct.stats().timed == 0);
    }
  }
}

TEST_CASE("what was chosen is kept, for this number of threads") {
  const test::TemporaryFolder folder;
  const Variable cache("WEFT_CACHE_DIR", folder.path());
  const Variable native("WEFT_NATIVE", "0");
  const Threads two(2);
  manual_seed(4);
  const Tensor x = randn({40, 1000}), row = randn({1000});
  const auto make = [](CompileMode mode) { return compile(chain, {.mode = mode}); };
  auto first = make(CompileMode::max_autotune);
  tune(first, x, row);
  CHECK(first.stats().timed >= 8);
  CHECK(first.stats().timed <= 200);
  CHECK_THAT(first.report(), Contains("tuning for 2 threads: done after") && Contains(" us"));

  auto second = make(CompileMode::max_autotune_no_cudagraphs);
  tune(second, x, row);
  CHECK(second.stats().timed == 0);
  CHECK_THAT(second.report(), Contains("tuning for 2 threads: kept from earlier"));

  // Others are none of these.
  auto plain = make(CompileMode::reduce_overhead);
  tune(plain, x, row);
  CHECK_THAT(plain.report(), !Contains("tuning"));
  auto wider = make(CompileMode::max_autotune);
  tune(wider, randn({41, 1000}), row);
  CHECK(wider.stats().timed > 0);
  {
    const Threads three(3);
    tune(second, x, row);
    CHECK(second.stats().timed > 0);
    CHECK_THAT(second.report(), Contains("tuning for 3 threads: done"));
  }
  const int64_t timed = second.stats().timed;
  tune(second, x, row);
  CHECK(second.stats().timed == timed);

  // A damaged file counts as none, and a right one takes its place.
  int files = 0;
  for (const auto& e : std::filesystem::directory_iterator(folder.path())) {
    std::fstream f(e.path(), std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(-3, std::ios::end);
    f.put('?');
    ++files;
  }
  CHECK(files == 3);
  auto third = make(CompileMode::max_autotune);
  tune(third, x, row);
  CHECK(third.stats().timed > 0);
  auto fourth = make(CompileMode::max_autotune);
  tune(fourth, x, row);
  CHECK(fourth.stats().timed == 0);
}

TEST_CASE("groups of rows are timed against their ops one by one") {
  const Variable native("WEFT_NATIVE", "0");
  manual_seed(7);
  const Tensor x = randn({400, 130}), y = randn({400, 130});
  const auto f = [](const Tensor& a, const Tensor& b) { return (softmax(a * 0.5, -1) * b).sum({.dim = {-1}}); };
  const Tensor slow = f(x, y);
  for (const char* rows : {"always", "try"}) {  // planned, or only the other way
    INFO(rows);
    const Variable by_rows("WEFT_FUSE_ROWS", rows);
    const test::TemporaryFolder folder;
    const Variable cache("WEFT_CACHE_DIR", folder.path());
    for (CompileMode mode : {CompileMode::max_autotune_no_cudagraphs, CompileMode::max_autotune}) {
      INFO(static_cast<int>(mode));
      auto fast = compile(f, {.mode = mode});
      for (int64_t timed = -1; timed != fast.stats().timed;) {
        timed = fast.stats().timed;
        for (int i = 0; i < 8; ++i) REQUIRE(same_bits(fast(x, y), slow));
      }
      const bool first = mode == CompileMode::max_autotune_no_cudagraphs;
      CHECK((fast.stats().timed > 0) == first);
      CHECK_THAT(fast.report(), Contains("rows at a time"));
      CHECK((fast.report().find("kept from earlier") == std::string::npos) == first);
      if (mode == CompileMode::max_autotune && kNoGaps) CHECK(fast.stats().direct > 0);
    }
  }
}

TEST_CASE("choices without a folder are made anew") {
  const Variable cache("WEFT_CACHE_DIR", "/proc/no/such/folder");
  const Variable native("WEFT_NATIVE", "0");
  manual_seed(5);
  const Tensor x = randn({40, 1000}), row = randn({1000});
  for (int i = 0; i < 2; ++i) {
    auto fast = compile(chain, {.mode = CompileMode::max_autotune});
    tune(fast, x, row);
    CHECK(fast.stats().timed > 0);
  }
}

TEST_CASE("kept choices are what they were, or nothing") {
  using graph::Tuned;
  const test::TemporaryFolder folder;
  const Variable cache("WEFT_CACHE_DIR", folder.path());
  const std::vector<Tuned> two{{{{.tile = 1024}, true}, 3.5, 2.25}, {{{.grain = 8192, .block = 7}, false}, 1, 1}};
  graph::keep_tuned("key", two);
  const auto again = graph::find_tuned("key", 2);
  REQUIRE(again);
  for (size_t i = 0; i < 2; ++i) {
    CHECK((*again)[i].choice == two[i].choice);
    CHECK((*again)[i].was == two[i].was);
    CHECK((*again)[i].now == two[i].now);
  }
  CHECK_FALSE(graph::find_tuned("key", 3));
  CHECK_FALSE(graph::find_tuned("another", 2));

  // Right by its checksum, but not what is written here.
  detail::CodeCache files(folder.path());
  for (const char* text :
       {"", "1 2 3\n", "1024 0 0 2 1 1\n", "-1 0 0 0 1 1\n", "1099511627777 0 0 0 1 1\n", "0 0 0 0 1 1\nmore"}) {
    INFO(text);
    files.store("odd", {text, "tuning 1"});
    CHECK_FALSE(graph::find_tuned("odd", 1));
  }
  files.store("odd", {"0 0 0 0 1 1 0\n", "a kernel"});
  CHECK_FALSE(graph::find_tuned("odd", 1));
  files.store("odd", {"0 0 0 0 1 1 0\n", "tuning 1"});
  CHECK(graph::find_tuned("odd", 1));
}

TEST_CASE("threads call one function while it is tuned") {
  const test::TemporaryFolder folder;
  const Variable cache("WEFT_CACHE_DIR", folder.path());
  const Variable native("WEFT_NATIVE", "0");
  manual_seed(6);
  const Tensor x = randn({20, 900}), row = randn({900}), slow = chain(x, row);
  auto fast = compile(chain, {.mode = CompileMode::max_autotune});
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int call = 0; call < 150; ++call) {
        wrong += !same_bits(fast(x, row), slow);
        if (call % 8 == 0) (void)fast.report();
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK_THAT(fast.report(), Contains(": done after"));
}
