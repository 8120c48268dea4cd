// Convolution and attention on devices against the CPU's.
#include "kernels/cuda/dnn.h"

#include <cmath>
#include <functional>
#include <random>

#include "autograd/autograd.h"
#include "core/cuda.h"
#include "core/ops/attention.h"
#include "core/ops/conv.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "tests/catch.h"

#if defined(WEFT_CUDA_EMULATE)
#include "kernels/cuda/emulate/device_code.h"
#endif

using namespace weft;

namespace {

std::mt19937 engine(11);
int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine); }
bool no_device() {
  if (cuda::is_available()) return false;
  WARN("skipped: " << cuda::why_unavailable());
  return true;
}

double difference(const Tensor& a, const Tensor& b) {
  const Tensor x = a.detach().to("cpu").to(DType::f64).contiguous(), y = b.detach().to(DType::f64).contiguous();
  REQUIRE(x.sizes() == y.sizes());
  const auto *p = static_cast<const double*>(x.data_ptr()), *q = static_cast<const double*>(y.data_ptr());
  double most = 0, largest = 1;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (std::isnan(p[i]) != std::isnan(q[i])) return INFINITY;
    most = std::max(most, std::abs(p[i] - q[i])), largest = std::max(largest, std::abs(q[i]));
  }
  return most / largest;
}

using Compute = std::function<Tensor(const std::vector<Tensor>&)>;

// The result and the gradients of all inputs that have one.
void check_close(const std::vector<Tensor>& inputs, const Compute& compute) {
  const DType dtype = inputs[0].dtype();
  const double bound = dtype == DType::f64 ? 1e-11 : dtype == DType::f32 ? 2e-5 : dtype == DType::f16 ? 4e-3 : 3e-2;
  std::vector<Tensor> here, there, leaves[2];
  for (const Tensor& t : inputs) {
    for (const bool device : {false, true}) {
      Tensor x = !t.defined() ? t : device ? t.to("cuda") : t.detach();
      if (t.defined() && is_floating(t.dtype()) && t.dtype() == dtype) {
        x = x.detach().set_requires_grad(true);
        leaves[device].push_back(x);
      }
      (device ? there : here).push_back(x);
    }
  }
  const Tensor expected = compute(here), found = compute(there);
  REQUIRE(found.device().is_cuda());
  CHECK(found.strides() == expected.strides());
  CHECK(difference(found, expected) <= bound);
  const Tensor g = randn(expected.sizes()).to(dtype);
  const auto a = grad({expected}, leaves[0], {.grad_outputs = {g}});
  const auto b = grad({found}, leaves[1], {.grad_outputs = {g.to("cuda")}});
  for (size_t i = 0; i < a.size(); ++i) {
    INFO("gradient " << i);
    CHECK(difference(b[i], a[i]) <= bound);
  }
}

// Threads of a block run in another order.
void shuffle([[maybe_unused]] uint64_t seed) {
#if defined(WEFT_CUDA_EMULATE)
  gpu::emulate::settings().seed = seed;
#endif
}

constexpr DType kFloats[] = {DType::f32, DType::f64, DType::bf16, DType::f16};

}  // namespace

TEST_CASE("convolution: random geometry, as on the CPU") {
  if (no_device()) return;
  manual_seed(3);
  for (int round = 0; round < 40; ++round) {
    shuffle(uint64_t(round));
    const DType dtype = kFloats[round % 4];
    const int dims = int(pick(1, 3));
    const bool transposed = pick(0, 1) == 1;
    const int64_t groups = pick(1, 3), cin = groups * pick(1, 5), cout = groups * pick(1, 6);
    Dims x{pick(1, 3), cin}, w{transposed ? cin : cout, (transposed ? cout : cin) / groups};
    Extents stride = pick(1, 3), padding = pick(0, 1), dilation = pick(1, 2);
    for (int d = 0; d < dims; ++d) x.push_back(pick(5, dims == 3 ? 7 : 11)), w.push_back(pick(1, 3));
    Tensor xs = randn(x).to(dtype), ws = randn(w).to(dtype), b = randn({cout}).to(dtype);
    if (dims == 2 && pick(0, 1) == 1) xs = xs.contiguous(MemoryFormat::channels_last);
    INFO("round " << round << ": " << dims << "d, groups " << groups << ", transposed " << transposed);
    check_close({xs, ws, b}, [&](const std::vector<Tensor>& t) {
      const ConvOptions o{.stride = stride, .padding = {padding.values[0]}, .dilation = dilation, .groups = groups};
      const ConvTransposeOptions ot{.stride = stride, .padding = padding, .groups = groups, .dilation = dilation};
      if (transposed)
        return dims == 1   ? conv_transpose1d(t[0], t[1], t[2], ot)
               : dims == 2 ? conv_transpose2d(t[0], t[1], t[2], ot)
                           : conv_transpose3d(t[0], t[1], t[2], ot);
      return dims == 1   ? conv1d(t[0], t[1], t[2], o)
             : dims == 2 ? conv2d(t[0], t[1], t[2], o)
                         : conv3d(t[0], t[1], t[2], o);
    });
  }
  shuffle(0);
}

TEST_CASE("attention: random shapes and masks, as on the CPU") {
  if (no_device()) return;
  manual_seed(4);
  for (int round = 0; round < 40; ++round) {
    shuffle(uint64_t(round));
    const DType dtype = kFloats[round % 4];
    const int64_t kv = pick(1, 2), heads = kv * pick(1, 2), batch = pick(1, 2), tq = pick(1, 90), tk = pick(1, 90);
    const int64_t d = pick(0, 1) ? 8 * pick(1, 3) : pick(1, 20), dv = pick(0, 3) ? d : pick(1, 140);
    const int masked = int(pick(0, 3));  // none, causal, bool, added
    Tensor mask;
    if (masked == 2) mask = gt(rand({pick(1, 2) == 1 ? 1 : batch, 1, tq, tk}), 0.3);
    if (masked == 3) mask = randn({tq, tk}).to(dtype == DType::f64 ? DType::f64 : dtype);
    INFO("round " << round << ": " << batch << " x " << heads << "/" << kv << ", " << tq << " x " << tk << ", width "
                  << d << "/" << dv << ", mask " << masked);
    check_close({randn({batch, heads, tq, d}).to(dtype), randn({batch, kv, tk, d}).to(dtype),
                 randn({batch, kv, tk, dv}).to(dtype)},
                [&](const std::vector<Tensor>& t) {
                  AttentionOptions o{.is_causal = masked == 1, .enable_gqa = true};
                  if (mask.defined()) o.attn_mask = t[0].device().is_cuda() ? mask.to("cuda") : mask;
                  return scaled_dot_product_attention(t[0], t[1], t[2], o);
                });
  }
  shuffle(0);
}

TEST_CASE("attention: wide heads and long rows take several tiles") {
  if (no_device()) return;
  manual_seed(5);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16})
    for (const bool causal : {false, true})
      check_close(
          {randn({1, 1, 70, 200}).to(dtype), randn({1, 1, 150, 200}).to(dtype), randn({1, 1, 150, 136}).to(dtype)},
          [&](const std::vector<Tensor>& t) {
            return scaled_dot_product_attention(t[0], t[1], t[2], {.is_causal = causal});
          });
}

TEST_CASE("the library says what it is") {
  if (no_device()) return;
  CHECK(!weft::gpu::dnn::dnn_library().empty());
}
