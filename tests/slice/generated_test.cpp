// Text compiled at run time gives the bits of loops compiled at build time.
#include <chrono>
#include <cstdio>
#include <type_traits>

#include "core/parallel.h"
#include "core/pointwise.h"
#include "tests/catch.h"
#include "tests/slice/eager.h"
#include "tests/slice/library.h"
#include "tests/slice/loops.h"
#include "tests/slice/program.h"
#include "tests/slice/texts.h"
#include "tests/slice/values.h"

namespace {

using namespace weft;
using slice::i64;

template <class F>
double best_ns_per_element(size_t n, F f) {
  double best = 1e30;
  for (int k = 0; k < 5; ++k) {
    auto start = std::chrono::steady_clock::now();
    f();
    best = std::min(best, std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count());
  }
  return best / double(n);
}

// The chain by the library's own loops over tiles of `tile` elements.
template <class T>
void interpret(const T* x, const T* w, T alpha, T* y, i64 n, i64 tile) {
  const std::vector<slice::Step>& steps = slice::chain();
  const Scalar params[] = {double(alpha)};
  std::vector<LoopFn> loops;
  for (const slice::Step& s : steps) {
    const Loops& l = slice::find_op(s.record).forward;
    loops.push_back(std::is_same_v<T, float> ? l.f32 : l.f64);
  }
  std::vector<std::vector<T>> values(steps.size() - 1, std::vector<T>(size_t(tile)));
  for (i64 start = 0; start < n; start += tile) {
    auto value = [&](int v) { return v == 0 ? x + start : v == 1 ? w + start : values[size_t(v) - 2].data(); };
    for (size_t i = 0; i < steps.size(); ++i) {
      const void* in[] = {value(steps[i].inputs[0]), value(steps[i].inputs.back())};
      loops[i](i + 1 == steps.size() ? y + start : values[i].data(), in, params, std::min(tile, n - start));
    }
  }
}

template <class T>
Tensor tensor_of(std::vector<T>& values) {
  return from_blob(values.data(), {i64(values.size())}, {.dtype = std::is_same_v<T, float> ? DType::f32 : DType::f64});
}

// `fused`: one loop. `cut`: 512-element tiles, a loop for about one transcendental, temporaries in local arrays.
template <class T>
std::string chain_text() {
  const std::string type = std::is_same_v<T, float> ? "float" : "double";
  const std::vector<slice::Step>& steps = slice::chain();
  const std::string last = "v" + std::to_string(steps.size() + 1);
  const std::string head =
      "(const " + type + "* x, const " + type + "* w, " + type + " alpha, " + type + "* y, long n) {\n";
  const std::string define = "extern \"C\" __attribute__((visibility(\"default\"))) void ";
  std::string text = slice::pasted({"core/ops/activation.h", "core/ops/arithmetic.h", "core/ops/transcendental.h"});
  text += "#define LOOP _Pragma(\"GCC ivdep\")\n";
  text += define + "fused" + head + "  LOOP for (long i = 0; i < n; ++i) {\n    " + type + " v0 = x[i], v1 = w[i];\n" +
          slice::lines(steps, 0, steps.size(), type) + "    y[i] = " + last + ";\n  }\n}\n";
  text += define + "cut" + head + "  for (long start = 0; start < n; start += 512, x += 512, w += 512, y += 512) {\n" +
          "  long m = n - start < 512 ? n - start : 512;\n";
  for (size_t i = 0; i + 1 < steps.size(); ++i) text += "  " + type + " t" + std::to_string(i + 2) + "[512];\n";
  const std::vector<size_t> cuts = {0, 2, 4, 6, 7, 8, steps.size()};
  for (size_t c = 0; c + 1 < cuts.size(); ++c) {
    text += "  LOOP for (long i = 0; i < m; ++i) {\n    " + type + " v0 = x[i], v1 = w[i];\n";
    for (size_t v = 2; v < cuts[c] + 2; ++v)
      text += "    " + type + " v" + std::to_string(v) + " = t" + std::to_string(v) + "[i];\n";
    text += slice::lines(steps, cuts[c], cuts[c + 1], type);
    for (size_t v = cuts[c] + 2; v < cuts[c + 1] + 2; ++v)
      text += v == steps.size() + 1 ? "    y[i] = " + last + ";\n"
                                    : "    t" + std::to_string(v) + "[i] = v" + std::to_string(v) + ";\n";
    text += "  }\n";
  }
  return text + "  }\n}\n";
}

template <class T>
void check_chain(const char* type) {
  constexpr size_t kCount = 1000003;
  slice::Library library(chain_text<T>());
  auto* fused = library.function<void(const T*, const T*, T, T*, long)>("fused");
  auto* cut = library.function<void(const T*, const T*, T, T*, long)>("cut");
  const T alpha = T(0.3);
  const int threads = num_threads();
  for (bool special : {true, false}) {
    std::vector<T> x = slice::test_values<T>(kCount, 1, special), w = slice::test_values<T>(kCount, 2, special);
    std::vector<T> eager(kCount), got(kCount);
    Tensor tx = tensor_of(x), tw = tensor_of(w), result = slice::run_chain(tx, tw, double(alpha));
    std::copy_n(static_cast<const T*>(result.data_ptr()), kCount, eager.begin());
    size_t finite = 0;
    for (T v : eager) finite += std::isfinite(v);
    CHECK(finite > kCount / 4);
    auto check = [&](const char* what, auto run) {
      double ns = best_ns_per_element(kCount, run);
      INFO(what << " " << type << (special ? ", special values" : ""));
      CHECK(slice::count_different(eager, got) == 0);
      std::printf("chain of 10 steps, %s, %-9s %-18s %6.2f ns/element\n", type, special ? "special," : "ordinary,",
                  what, ns);
    };
    check("separate passes", [&] { interpret<T>(x.data(), w.data(), alpha, got.data(), kCount, kCount); });
    check("512-element tiles", [&] { interpret<T>(x.data(), w.data(), alpha, got.data(), kCount, 512); });
    check("generated, fused", [&] { fused(x.data(), w.data(), alpha, got.data(), kCount); });
    check("generated, cut", [&] { cut(x.data(), w.data(), alpha, got.data(), kCount); });
    for (int count : {1, 2}) {
      set_num_threads(count);
      double ns = best_ns_per_element(kCount, [&] { result = slice::run_chain(tx, tw, double(alpha)); });
      const T* values = static_cast<const T*>(result.data_ptr());
      CHECK(slice::count_different(eager, std::vector<T>(values, values + kCount)) == 0);
      std::printf("chain of 10 steps, %s, %-9s eager, %d thread%s   %6.2f ns/element\n", type,
                  special ? "special," : "ordinary,", count, count > 1 ? "s" : " ", ns);
    }
    set_num_threads(threads);
  }
  std::printf("chain of 10 steps, %s: two kernels compiled in %.0f ms\n", type, library.compile_ms());
}

TEST_CASE("generated chains have the bits of separate loops") {
  check_chain<float>("f32");
  check_chain<double>("f64");
}

template <class T>
void check_softmax(const char* type) {
  slice::Library library(slice::pasted({"core/ops/softmax_row.h"}) +
                         "extern \"C\" __attribute__((visibility(\"default\"))) void softmax_row(long n, const " +
                         (std::is_same_v<T, float> ? "float* x, float* y" : "double* x, double* y") +
                         ") { weft::softmax_order::forward_row(n, x, y); }\n");
  auto* generated = library.function<void(i64, const T*, T*)>("softmax_row");
  int threads = num_threads();
  for (size_t n : {1u, 7u, 33u, 64u, 1000u, 50257u}) {
    size_t rows = std::max<size_t>(3, 200000 / n);
    std::vector<T> x = slice::test_values<T>(rows * n, unsigned(n), false), eager(x.size()), got(x.size());
    for (size_t i = 0; i < n; ++i) x[i] = -INFINITY;
    x[n + n / 2] = NAN;
    for (size_t r = 0; r < rows; ++r) slice::softmax_row<T>(i64(n), &x[r * n], &eager[r * n]);
    got.assign(got.size(), T(7));
    double rows_ns =
        best_ns_per_element(x.size(), [&] { slice::softmax_rows(i64(rows), i64(n), x.data(), got.data()); });
    CHECK(slice::count_different(eager, got) == 0);
    std::printf("softmax %s [%zu, %zu], rows together: %.2f ns/element\n", type, rows, n, rows_ns);
    auto run = [&](void (*row)(i64, const T*, T*)) {
      parallel_for(i64(rows), 1, [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) row(i64(n), &x[size_t(r) * n], &got[size_t(r) * n]);
      });
    };
    for (int count : {1, 2}) {
      set_num_threads(count);
      INFO("softmax " << type << " n = " << n << ", threads " << count);
      double ns[3];
      void (*forms[])(i64, const T*, T*) = {slice::softmax_row<T>, slice::tiled_softmax_row<T>, generated};
      for (int f = 0; f < 3; ++f) {
        got.assign(got.size(), T(7));
        ns[f] = best_ns_per_element(x.size(), [&] { run(forms[f]); });
        CHECK(slice::count_different(eager, got) == 0);
      }
      std::printf("softmax %s [%zu, %zu], %d thread%s: eager %.2f, tiles %.2f, generated %.2f ns/element\n", type, rows,
                  n, count, count > 1 ? "s" : "", ns[0], ns[1], ns[2]);
    }
  }
  set_num_threads(threads);
  std::printf("softmax %s: compiled in %.0f ms\n", type, library.compile_ms());
}

TEST_CASE("softmax has the same bits in eager loops, tiles and generated text, for 1 and 2 threads") {
  check_softmax<float>("f32");
  check_softmax<double>("f64");
}

TEST_CASE("text that does not compile says why") {
  CHECK_THROWS_WITH(slice::Library("int f() { return missing; }"), Catch::Matchers::Contains("missing"));
}

}  // namespace
