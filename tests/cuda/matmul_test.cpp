#include "core/ops/matmul.h"

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "autograd/autograd.h"
#include "core/cuda.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/product.h"
#include "tests/catch.h"
#include "tests/cuda/device_array.h"

using namespace weft;
using namespace weft::gpu;

namespace {

std::mt19937 engine(5);
bool no_device() {
  if (cuda::is_available()) return false;
  WARN("skipped: " << cuda::why_unavailable());
  return true;
}

Tensor random(const Dims& sizes, DType dtype = DType::f32) {
  std::uniform_int_distribution<int> number(-8, 8);
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  std::vector<double> values(n);
  for (double& v : values) v = number(engine);
  // Small multiples of 1/4: sums are exact in every dtype that is tried, so that results must be equal.
  return tensor(values, {.dtype = DType::f64}).reshape(sizes).mul(is_floating(dtype) ? 0.25 : 1.0).to(dtype);
}

using Change = std::function<Tensor(const Tensor&)>;
using Compute = std::function<Tensor(const std::vector<Tensor>&)>;

// compute() gives the same on both devices, from inputs that are laid out by the same views.
void check_equal(const std::vector<Tensor>& base, const std::vector<Change>& changes, const Compute& compute) {
  std::vector<Tensor> here, there;
  for (size_t i = 0; i < base.size(); ++i) {
    here.push_back(changes[i](base[i]));
    there.push_back(changes[i](base[i].to("cuda")));
    REQUIRE(here[i].strides() == there[i].strides());
  }
  const Tensor expected = compute(here), got = compute(there);
  REQUIRE(got.device().is_cuda());
  REQUIRE(got.sizes() == expected.sizes());
  CHECK(equal(got.to("cpu"), expected));
}

const Change kPlain = [](const Tensor& t) { return t; };
const Change kTransposed = [](const Tensor& t) { return t.transpose(-2, -1).contiguous().transpose(-2, -1); };
// Every second row and column of something larger.
const Change kSpread = [](const Tensor& t) {
  Dims sizes = t.sizes();
  for (int d = t.dim() - 2; d < t.dim(); ++d) sizes[d] = 2 * sizes[d] + 1;
  Tensor wide = zeros(sizes, {.dtype = t.dtype(), .device = t.device()});
  for (int d = t.dim() - 2; d < t.dim(); ++d) wide = wide.slice(d, 1, sizes[d], 2);
  wide.copy_(t);
  return wide;
};
// Rows that lie apart, from an odd address on.
const Change kPadded = [](const Tensor& t) {
  Dims sizes = t.sizes();
  sizes.back() += 3;
  Tensor wide = zeros(sizes, {.dtype = t.dtype(), .device = t.device()});
  wide = wide.slice(-1, 1, sizes.back() - 2, 1);
  wide.copy_(t);
  return wide;
};

const DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i8, DType::u8, DType::i32, DType::i64};

TEST_CASE("mm and bmm: every layout of both operands, every dtype") {
  if (no_device()) return;
  const Change layouts[] = {kPlain, kTransposed, kSpread, kPadded};
  for (DType t : kAll)
    for (const Change& a : layouts)
      for (const Change& b : layouts) {
        check_equal({random({5, 7}, t), random({7, 3}, t)}, {a, b}, [](auto& x) { return mm(x[0], x[1]); });
        check_equal({random({2, 5, 7}, t), random({2, 7, 3}, t)}, {a, b}, [](auto& x) { return bmm(x[0], x[1]); });
      }
}

TEST_CASE("mm: rows, columns and numbers, sums of nothing") {
  if (no_device()) return;
  for (int64_t m : {0, 1, 4})
    for (int64_t n : {0, 1, 4})
      for (int64_t k : {0, 1, 4})
        for (const Change& layout : {kPlain, kTransposed, kSpread})
          check_equal({random({m, k}), random({k, n})}, {layout, layout}, [](auto& x) { return mm(x[0], x[1]); });
  for (DType t : {DType::f32, DType::bf16, DType::i64})
    check_equal({random({3}, t), random({4, 0}, t), random({0, 3}, t)}, {kPlain, kPlain, kPlain},
                [](auto& x) { return addmm(x[0], x[1], x[2], {.beta = 3}); });
}

TEST_CASE("matmul: batches that broadcast") {
  if (no_device()) return;
  const auto product = [](auto& x) { return matmul(x[0], x[1]); };
  const std::pair<Dims, Dims> shapes[] = {
      {{4, 2, 3}, {3, 5}},    {{2, 3}, {4, 3, 5}},    {{4, 1, 2, 3}, {6, 3, 5}}, {{4, 1, 3}, {4, 3, 1}},
      {{6, 1, 3}, {1, 3, 2}}, {{1, 2, 3}, {6, 3, 2}}, {{2, 3, 2, 3}, {1, 3, 2}}, {{70000, 1, 2}, {70000, 2, 1}}};
  for (const auto& [a, b] : shapes)
    for (const Change& layout : {kPlain, kTransposed}) check_equal({random(a), random(b)}, {layout, layout}, product);
  // One matrix for a batch of others, by strides of 0.
  const Change repeat = [](const Tensor& t) { return t.expand({6, t.sizes()[0], t.sizes()[1]}); };
  for (int64_t m : {1, 3}) {
    check_equal({random({6, m, 4}), random({4, 5})}, {kPlain, repeat}, [](auto& x) { return bmm(x[0], x[1]); });
    check_equal({random({6, m, 4}), random({4, 5})}, {kSpread, repeat}, [](auto& x) { return bmm(x[0], x[1]); });
    check_equal({random({m, 4}), random({6, 4, 5})}, {repeat, kPlain}, [](auto& x) { return bmm(x[0], x[1]); });
  }
  const Change windows = [](const Tensor& t) { return t.as_strided({4, 1, 3}, {1, 1, 1}); };
  check_equal({random({9}), random({3, 2})},
              {windows,
               [](const Tensor& t) {
                 return t.expand({4, 3, 2});
               }},
              [](auto& x) { return bmm(x[0], x[1]); });
  check_equal({random({9}), random({3, 2})},
              {[](const Tensor& t) {
                 return t.as_strided({4, 3}, {1, 1});
               },
               kPlain},
              [](auto& x) { return mm(x[0], x[1]); });
}

TEST_CASE("addmm: addends of every shape and layout") {
  if (no_device()) return;
  for (DType t : {DType::f32, DType::bf16, DType::i32})
    for (int beta : {1, -2})
      for (const Dims& shape : {Dims{4, 3}, Dims{3}, Dims{1, 3}, Dims{4, 1}, Dims{}, Dims{1, 1}})
        for (const Change& layout : {kPlain, kTransposed, kSpread}) {
          const auto sum = [&](auto& x) { return addmm(x[0], x[1], x[2], {.beta = beta, .alpha = 3}); };
          check_equal({random(shape, t), random({4, 6}, t), random({6, 3}, t)},
                      {shape.size() == 2 ? layout : kPlain, kPlain, kPlain}, sum);
        }
  for (const Dims& shape : {Dims{5, 4, 3}, Dims{4, 3}, Dims{3}, Dims{5, 1, 1}})
    check_equal({random(shape), random({5, 4, 6}), random({5, 6, 3})}, {kPlain, kPlain, kTransposed},
                [](auto& x) { return baddbmm(x[0], x[1], x[2], {.beta = 2}); });
  // Batches of one number, or of one row, whose addends lie apart.
  const Change apart = [](const Tensor& t) {
    Tensor wide = zeros({2 * t.sizes()[0], t.sizes()[1], t.sizes()[2]}, {.dtype = t.dtype(), .device = t.device()});
    wide = wide.slice(0, 0, 2 * t.sizes()[0], 2);
    wide.copy_(t);
    return wide;
  };
  for (int64_t n : {1, 3})
    for (int64_t m : {1, 2})
      for (const Change& layout : {kPlain, apart})
        check_equal({random({5, m, n}), random({5, m, 4}), random({4, n})},
                    {layout, layout,
                     [n](const Tensor& t) {
                       return t.expand({5, 4, n});
                     }},
                    [](auto& x) { return baddbmm(x[0], x[1], x[2]); });
  // An addend that does not count is not read.
  const Tensor nan = full({4, 3}, std::numeric_limits<double>::quiet_NaN());
  check_equal({nan, random({4, 6}), random({6, 3})}, {kPlain, kPlain, kPlain},
              [](auto& x) { return addmm(x[0], x[1], x[2], {.beta = 0}); });
}

TEST_CASE("addmm in place: on any strides, on an operand's own memory") {
  if (no_device()) return;
  for (const Change& layout : {kPlain, kTransposed, kSpread, kPadded})
    check_equal({random({4, 3}), random({4, 6}), random({6, 3})}, {layout, kPlain, kPlain}, [](auto& x) {
      Tensor self = x[0];
      addmm_(self, x[1], x[2], {.beta = 2});
      return self;
    });
  check_equal({random({4, 4}), random({4, 4})}, {kPlain, kPlain}, [](auto& x) {
    Tensor self = x[0];
    addmm_(self, self, x[1]);
    return self;
  });
}

TEST_CASE("linear: leading dimensions, bias, layouts, sums of nothing") {
  if (no_device()) return;
  const auto with_bias = [](auto& x) { return linear(x[0], x[1], x[2]); };
  const Change stepped = [](const Tensor& t) { return kSpread(t.unsqueeze(1)).select(1, 0); };
  const Change moved = [](const Tensor& t) { return t.transpose(0, 1).contiguous().transpose(0, 1); };
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i32})
    for (const Dims& shape : {Dims{6}, Dims{1, 6}, Dims{5, 6}, Dims{2, 3, 6}, Dims{2, 1, 2, 6}, Dims{0, 6}})
      for (int64_t out : {1, 4}) {
        check_equal({random(shape, t), random({out, 6}, t), random({out}, t)}, {kPlain, kPlain, kPlain}, with_bias);
        check_equal({random(shape, t), random({out, 6}, t), random({out}, t)}, {kPlain, kTransposed, stepped},
                    with_bias);
        check_equal({random(shape, t), random({out, 6}, t)}, {kPlain, kSpread},
                    [](auto& x) { return linear(x[0], x[1]); });
      }
  check_equal({random({2, 3, 6}), random({4, 6}), random({4})}, {moved, kPlain, kPlain}, with_bias);
  check_equal({random({2, 3, 0}), random({4, 0}), random({4})}, {kPlain, kPlain, kPlain}, with_bias);
}

TEST_CASE("linear: gradients, and gradients of gradients, as on the host") {
  if (no_device()) return;
  const auto gradients = [](const std::vector<Tensor>& inputs) {
    std::vector<Tensor> in;
    for (const Tensor& t : inputs) in.push_back(t.detach().set_requires_grad(true));
    const Tensor y = linear(in[0], in[1], in[2]);
    const auto first = grad({mul(y, y).sum()}, in, {.create_graph = true});
    Tensor squares = mul(first[0], first[0]).sum();
    for (size_t i = 1; i < 3; ++i) squares = add(squares, mul(first[i], first[i]).sum());
    const auto second = grad({squares}, in);
    std::vector<Tensor> all;
    for (const auto& list : {first, second})
      for (const Tensor& t : list) all.push_back(t.detach().to("cpu").to(DType::f64));
    return all;
  };
  for (DType t : {DType::f64, DType::f32, DType::bf16})
    for (const Dims& shape : {Dims{5, 6}, Dims{2, 3, 6}, Dims{0, 6}, Dims{1, 6}})
      for (int64_t out : {1, 4})
        for (const Change& layout : {kPlain, kTransposed}) {
          const std::vector<Tensor> host{layout(random(shape, t)), layout(random({out, 6}, t)), random({out}, t)};
          std::vector<Tensor> device;
          for (const Tensor& x : host) device.push_back(x.to("cuda"));
          const auto expected = gradients(host), got = gradients(device);
          for (size_t i = 0; i < expected.size(); ++i) {
            REQUIRE(got[i].sizes() == expected[i].sizes());
            if (expected[i].numel() == 0) continue;
            const double scale = expected[i].abs().amax().item().f64();
            INFO("result " << i << " of " << shape.size() << " dimensions, " << out << " features");
            CHECK(got[i].sub(expected[i]).abs().amax().item().f64() <= (t == DType::bf16 ? 0.03 : 1e-5) * scale);
          }
        }
}

TEST_CASE("linear_grad: both results, in every layout") {
  if (no_device()) return;
  for (DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const Dims& sizes : {Dims{5, 4, 6}, Dims{0, 4, 6}, Dims{5, 1, 1}, Dims{1, 4, 6}, Dims{5, 0, 6}, Dims{5, 4, 0}})
      for (const Change& layout : {kPlain, kTransposed, kSpread, kPadded})
        for (int which : {0, 1})
          check_equal({random({sizes[0], sizes[1]}, t), random({sizes[0], sizes[2]}, t)}, {layout, layout},
                      [&](auto& x) {
                        Tensor out[2];
                        detail::linear_grad(x[0], x[1], out);
                        return out[which];
                      });
}

TEST_CASE("integers wrap") {
  if (no_device()) return;
  const Tensor big = full({2, 70}, 3000000000000000007.0, {.dtype = DType::f64}).to(DType::i64);
  check_equal({big, random({70, 2}, DType::i64)}, {kPlain, kPlain}, [](auto& x) { return mm(x[0], x[1]); });
  check_equal({random({65, 130}, DType::i8), random({130, 66}, DType::i8)}, {kPlain, kPlain},
              [](auto& x) { return mm(x[0].mul(15), x[1].mul(15)); });
}

// ---- the cut itself

struct Raw {
  MatmulCall call{};
  DeviceArray<float> a, b, c, d, bias;
  explicit Raw(bool transpose_a, bool transpose_b)
      : a(numbers(400)), b(numbers(400)), c(numbers(400)), d(400), bias(numbers(16)) {
    call.m = 5, call.n = 4, call.k = 6, call.batch = 2;
    call.a = a.data(), call.b = b.data(), call.c = c.data(), call.d = d.data();
    call.lda = 9, call.ldb = 10, call.ldc = 7, call.ldd = 8;
    call.stride_a = 100, call.stride_b = 90, call.stride_c = 80, call.stride_d = 70;
    call.transpose_a = transpose_a, call.transpose_b = transpose_b;
    call.in = call.out = DType::f32;
    call.alpha = 2, call.beta = -1;
  }
  static std::vector<float> numbers(int n) {
    std::uniform_int_distribution<int> number(-8, 8);
    std::vector<float> v(n);
    for (float& x : v) x = float(number(engine));
    return v;
  }
  // The formula of blas.h, for the call as it was made by the constructor.
  bool right(int64_t lda = 9, int64_t ldb = 10) const {
    const auto va = a.read(), vb = b.read(), vc = c.read(), vd = d.read(), vbias = bias.read();
    for (int64_t s = 0; s < call.batch; ++s)
      for (int64_t i = 0; i < call.m; ++i)
        for (int64_t j = 0; j < call.n; ++j) {
          double sum = 0;
          for (int64_t l = 0; l < call.k; ++l)
            sum += double(va[s * 100 + (call.transpose_a ? l + i * lda : i + l * lda)]) *
                   vb[s * 90 + (call.transpose_b ? j + l * ldb : l + j * ldb)];
          sum = call.alpha * sum + call.beta * vc[s * 80 + i + j * 7];
          if (call.epilogue == MatmulEpilogue::bias) sum += vbias[i];
          if (vd[s * 70 + i + j * 8] != float(sum)) return false;
        }
    return true;
  }
};

TEST_CASE("matmul: transpositions, leading dimensions, strides and epilogues mean what blas.h says") {
  if (no_device()) return;
  for (bool ta : {false, true})
    for (bool tb : {false, true})
      for (bool bias : {false, true}) {
        Raw raw(ta, tb);
        if (bias) raw.call.epilogue = MatmulEpilogue::bias, raw.call.bias = raw.bias.data();
        REQUIRE(matmul(raw.call, current_stream()));
        CHECK(raw.right());
        CHECK_FALSE(raw.right(8));  // a wrong leading dimension does not pass for the right one
        CHECK_FALSE(raw.right(9, 11));
      }
  Raw raw(false, true);
  raw.call.batch = 1;
  raw.call.epilogue = MatmulEpilogue::bias_gradient, raw.call.bias = raw.bias.data();
  if (!matmul(raw.call, current_stream())) return;  // not every library has it
  const auto b = raw.b.read(), sums = raw.bias.read();
  CHECK(raw.right());
  for (int64_t j = 0; j < raw.call.n; ++j) {
    float sum = 0;
    for (int64_t l = 0; l < raw.call.k; ++l) sum += b[j + l * 10];
    CHECK(sums[j] == sum);
  }
}

#ifdef WEFT_CUDA_EMULATE
TEST_CASE("product: the same in any order of threads and blocks") {
  const emulate::Settings before = emulate::settings();
  for (uint64_t seed : {1, 2, 3}) {
    emulate::settings() = {.seed = seed, .poison = uint8_t(seed == 3 ? 0 : 0x7f)};
    check_equal({random({3, 70, 40}, DType::i32), random({3, 40, 90}, DType::i32)}, {kPlain, kTransposed},
                [](auto& x) { return bmm(x[0], x[1]); });
  }
  emulate::settings() = before;
}

TEST_CASE("matmul: the emulation refuses what the library refuses") {
  auto fails = [](const std::function<void(MatmulCall&)>& change) {
    Raw raw(false, true);
    change(raw.call);
    try {
      matmul(raw.call, current_stream());
    } catch (const Error&) {
      return true;
    }
    return false;
  };
  CHECK(fails([](MatmulCall& c) { c.lda = 4; }));
  CHECK(fails([](MatmulCall& c) { c.ldb = 3; }));
  CHECK(fails([](MatmulCall& c) { c.ldd = 4; }));
  CHECK(fails([](MatmulCall& c) { c.k = 0; }));
  CHECK(fails([](MatmulCall& c) { c.compute = MatmulCompute::f64; }));
  CHECK(fails([](MatmulCall& c) { c.epilogue = MatmulEpilogue::bias; }));
  CHECK_FALSE(fails([](MatmulCall&) {}));
}
#endif

TEST_CASE("product: the own kernel makes what the library makes") {
  if (no_device()) return;
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    const Tensor a = random({3, 70, 40}, t).to("cuda"), b = random({3, 40, 90}, t).to("cuda");
    const Tensor addend = random({90}, t).to("cuda"), out = empty({3, 70, 90}, {.dtype = t, .device = "cuda"});
    product({.m = 70,
             .n = 90,
             .k = 40,
             .batch = 3,
             .a = {a.impl()->data, 40, 1, 2800},
             .b = {b.impl()->data, 90, 1, 3600},
             .addend = {addend.impl()->data, 0, 1, 0},
             .out = {out.impl()->data, 90, 1, 6300},
             .dtype = t,
             .alpha = 2,
             .beta = 3});
    CHECK(equal(out.to("cpu"), baddbmm(addend, a, b, {.beta = 3, .alpha = 2}).to("cpu")));
  }
}

TEST_CASE("TF32 is off until it is allowed") {
  if (no_device()) return;
  CHECK_FALSE(cuda::allow_tf32());
  const Tensor a = full({32, 32}, 1.0 + 1.0 / 8192).to("cuda"), one = eye(32).to("cuda");
  CHECK(equal(mm(a, one).to("cpu"), a.to("cpu")));
  cuda::set_allow_tf32(true);
  const Tensor rounded = mm(a, one).to("cpu");
  const Tensor f64 = mm(a.to(DType::f64), one.to(DType::f64)).to("cpu");
  cuda::set_allow_tf32(false);
  CHECK(equal(f64, a.to(DType::f64).to("cpu")));
  if (cuda::device_properties().major >= 8) CHECK(equal(rounded, ones({32, 32})));
  CHECK_FALSE(cuda::libraries().empty());
}

}  // namespace
