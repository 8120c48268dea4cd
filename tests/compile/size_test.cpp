// Functions of ten thousand ops: compiled in little time, and without recursion as deep as they are long.
#include <pthread.h>

#include <chrono>
#include <functional>

#include "compile/compile.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"
#include "weft.h"

using namespace weft;

namespace {

using Program = std::function<Tensor(const Tensor&)>;

double seconds(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Measured {
  double compiling = 0;  ///< seconds of the first call, or of the one that begins direct replay, more than eager
  bool same = true;
  CompileStats stats;
};

Measured measure(const Program& f) {
  Measured m;
  manual_seed(4);
  const Tensor x = randn({64});
  Tensor expected;
  const double eager = seconds([&] { expected = f(x); });
  auto fast = compile([&](const Tensor& t) { return f(t); }, {.mode = CompileMode::reduce_overhead, .pure = true});
  for (int i = 0; i < 5; ++i) {
    Tensor y;
    m.compiling = std::max(m.compiling, seconds([&] { y = fast(x); }) - eager);
    m.same = m.same && same_bits(expected, y);
  }
  m.stats = fast.stats();
  return m;
}

// Runs `f` in a thread with a stack of 256 KiB, which holds some thousand frames at most.
void on_small_stack(std::function<void()> f) {
  constexpr size_t kStack = (kSanitized ? 1024 : 256) << 10;  // their frames are larger
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, kStack) == 0);
  pthread_t thread;
  const auto run = [](void* what) -> void* {
    (*static_cast<std::function<void()>*>(what))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, run, &f) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

Tensor chain(const Tensor& x) {
  Tensor y = x;
  for (int i = 0; i < 5000; ++i) y = (y + 1) * 0.999;
  return y;
}

// Five thousand results that live until they are summed.
Tensor held(const Tensor& x) {
  std::vector<Tensor> all{x};
  for (int i = 0; i < 5000; ++i) all.push_back(i % 3 ? all.back() * 0.99 : softmax(all.back(), 0));
  Tensor sum = all.back();
  for (size_t i = 5000; i-- > 0;) sum = sum + all[i];
  return sum;
}

// Ops in place on rows and columns of one tensor.
Tensor in_place(const Tensor& x) {
  Tensor y = x.clone(), m = y.view({8, 8});
  for (int i = 0; i < 10000; ++i) {
    if (i % 3 == 0)
      m.select(0, i % 8).mul_(0.99);
    else if (i % 3 == 1)
      m.select(0, i % 8).add_(m.select(0, (i + 3) % 8));
    else
      m.select(1, i % 8).sub_(0.5);
  }
  return y;
}

// Products, reductions and pointwise ops, and as many again for the gradient.
Tensor trained(const Tensor& x) {
  Tensor w = (eye(8) * 0.5).set_requires_grad(true);
  Tensor y = x.view({8, 8});
  for (int i = 0; i < 900; ++i) y = tanh(matmul(y, w) - y.mean()) * 2;
  y.sum().backward();
  return w.grad().clone();
}

}  // namespace

TEST_CASE("functions of ten thousand ops compile in seconds, on a small stack") {
  const std::pair<const char*, Program> functions[] = {
      {"chain", chain}, {"held", held}, {"in place", in_place}, {"trained", trained}};
  for (const auto& [name, f] : functions) {
    Measured m;
    const Program& function = f;
    on_small_stack([&] { m = measure(function); });
    CAPTURE(name, m.compiling);
    CHECK(m.same);
    CHECK(m.compiling < 5);
    CHECK(m.stats.recorded == 1);
    CHECK(m.stats.breaks.empty());
    CHECK((m.stats.direct > 0 || !m.stats.matched_because.empty()));
  }
}
