// Kernels generated from the embedded texts compile at run time, and the code obeys weft's numerics.
#include "kernels/cuda/nvrtc.h"

#include <chrono>
#include <cstdio>
#include <sstream>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/slice/program.h"
#include "tests/slice/texts.h"

namespace {

using namespace weft;

const gpu::Nvrtc* compiler() {
  std::string why;
  const gpu::Nvrtc* nvrtc = gpu::Nvrtc::load(&why);
  if (!nvrtc) std::printf("skipped: run-time compilation for CUDA: %s\n", why.c_str());
  return nvrtc;
}

std::vector<gpu::NvrtcHeader> headers() {
  std::vector<gpu::NvrtcHeader> all;
  for (const slice::Text& t : slice::embedded_texts()) all.push_back({std::string(t.name), std::string(t.text)});
  return all;
}

struct Compiled {
  std::string ptx;
  double ms;
};
Compiled compile(const gpu::Nvrtc& nvrtc, const std::string& source) {
  auto start = std::chrono::steady_clock::now();
  std::string ptx = nvrtc.ptx(source, headers(), 90);
  return {ptx, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count()};
}

size_t count(const std::string& text, const std::string& word) {
  size_t found = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++found;
  return found;
}

// Float instructions that round without saying how may be contracted or approximated by ptxas.
std::string loose_instructions(const std::string& ptx) {
  std::istringstream lines(ptx);
  std::string line, loose;
  while (std::getline(lines, line)) {
    size_t at = line.find_first_not_of(" \t");
    if (at == std::string::npos) continue;
    std::string word = line.substr(at, line.find_first_of(" \t", at) - at);
    bool real = word.ends_with(".f32") || word.ends_with(".f64");
    bool rounds = word.starts_with("add.") || word.starts_with("sub.") || word.starts_with("mul.") ||
                  word.starts_with("fma.") || word.starts_with("div.") || word.starts_with("sqrt.") ||
                  word.starts_with("mad.");
    if (word.find(".ftz") != std::string::npos || (real && rounds && word.find(".rn") == std::string::npos))
      loose += line + "\n";
  }
  return loose;
}

const std::string kGlobal = "extern \"C\" __global__ void ";
const std::string kIndex = "  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;\n  if (i >= n) return;\n";

TEST_CASE("NVRTC: arithmetic records become IEEE instructions, nothing contracted") {
  const gpu::Nvrtc* nvrtc = compiler();
  if (!nvrtc) return;
  std::string source =
      "#include \"core/ops/arithmetic.h\"\n" + kGlobal +
      "arithmetic(const float* a, const float* b, const double* c, float alpha, float* y, double* z, long long n) {\n" +
      kIndex +
      "  y[i] = weft::math::sqrt(weft::ops::Div::forward(weft::ops::Add::forward(a[i], b[i], alpha), b[i]));\n"
      "  z[i] = weft::ops::Sub::forward(c[i], c[i], double(alpha));\n}\n";
  compile(*nvrtc, source);
  Compiled c = compile(*nvrtc, source);
  CHECK(loose_instructions(c.ptx) == "");
  CHECK(count(c.ptx, "fma.") == 0);
  CHECK(count(c.ptx, "mul.rn.f32") == 1);
  CHECK(count(c.ptx, "add.rn.f32") == 1);
  CHECK(count(c.ptx, "div.rn.f32") == 1);
  CHECK(count(c.ptx, "sqrt.rn.f32") == 1);
  CHECK(count(c.ptx, "mul.rn.f64") == 1);
  CHECK(c.ptx.find("mad.") == std::string::npos);
  std::printf("NVRTC %d: arithmetic kernel %.0f ms\n", nvrtc->version(), c.ms);
}

TEST_CASE("NVRTC: the generated chain") {
  const gpu::Nvrtc* nvrtc = compiler();
  if (!nvrtc) return;
  const std::vector<slice::Step>& steps = slice::chain();
  std::string source =
      "#include \"core/ops/activation.h\"\n#include \"core/ops/arithmetic.h\"\n#include "
      "\"core/ops/transcendental.h\"\n" +
      kGlobal + "chain(const float* x, const float* w, float alpha, float* y, long long n) {\n" + kIndex +
      "  float v0 = x[i], v1 = w[i];\n" + slice::lines(steps, 0, steps.size(), "float") + "  y[i] = v" +
      std::to_string(steps.size() + 1) + ";\n}\n";
  Compiled c = compile(*nvrtc, source);
  CHECK(loose_instructions(c.ptx) == "");
  auto start = std::chrono::steady_clock::now();
  std::string cubin = nvrtc->cubin(source, headers(), 90);
  double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  CHECK(cubin.substr(1, 3) == "ELF");
  std::printf("NVRTC: chain of 10 steps: PTX %.0f ms, cubin %.0f ms (%zu bytes)\n", c.ms, ms, cubin.size());
}

TEST_CASE("NVRTC: the reduction order on a warp") {
  const gpu::Nvrtc* nvrtc = compiler();
  if (!nvrtc) return;
  std::string source =
      "#include \"kernels/cuda/reduce.cuh\"\n" + kGlobal +
      "row_sums(const float* x, float* y, long long n) {\n"
      "  using Sum = weft::reduction::Sum<float>;\n"
      "  __shared__ float partial[32];\n"
      "  const float* row = x + blockIdx.x * n;\n"
      "  float sum = weft::gpu::block_row<Sum, float>(n, partial, [=](long long i) { return row[i]; });\n"
      "  if (threadIdx.x == 0) y[blockIdx.x] = sum;\n}\n";
  Compiled c = compile(*nvrtc, source);
  CHECK(loose_instructions(c.ptx) == "");
  CHECK(count(c.ptx, "shfl.sync.down") == 10);  // two trees of five levels
  std::printf("NVRTC: block row sum %.0f ms\n", c.ms);
}

TEST_CASE("NVRTC: the compiler's words reach the caller") {
  const gpu::Nvrtc* nvrtc = compiler();
  if (!nvrtc) return;
  CHECK_THROWS_WITH(nvrtc->ptx("__global__ void f() { missing(); }", {}, 90), Catch::Matchers::Contains("missing"));
}

}  // namespace
