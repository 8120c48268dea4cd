// Users' own ops on a device: the public path, the compilation of their texts, and the folder of compiled kernels.
#include "autograd/custom_op.h"

#include <filesystem>

#include "autograd/autograd.h"
#include "core/device_backend.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "kernels/cuda/custom_code.h"
#include "kernels/cuda/nvrtc.h"
#include "tests/cuda/need_device.h"
#include "tests/folder.h"

// clang-format off
WEFT_REGISTER_OP(DeviceSnake, device_snake,
struct DeviceSnake : Pointwise<1, 1> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[1] = {kA};
  template <class T> static T forward(T x, T a) { return x + sin(a * x) * sin(a * x) / a; }
  template <class T> static T backward(T g, T x, T, T a) { return g * (T(1) + T(2) * sin(a * x) * cos(a * x)); }
});
WEFT_REGISTER_OP(DeviceGate, device_gate,
struct DeviceGate : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::floating;
  static constexpr unsigned needs[2] = {kB | kY, kA | kB};
  template <class T> static T forward(T a, T b) { return tanh(a) * exp(b); }
  template <class T> static T backward_a(T g, T, T b, T y) { return g * (exp(b) - y * y * exp(-b)); }
  template <class T> static T backward_b(T g, T a, T b, T) { return g * tanh(a) * exp(b); }
});
WEFT_REGISTER_OP(DeviceMix, device_mix,
struct DeviceMix : Pointwise<3> {
  static constexpr Dtypes dtypes = Dtypes::any;
  static constexpr bool differentiable = false;
  template <class T> static T forward(T a, T b, T c) { return max(a, b) * c; }
});
WEFT_REGISTER_OP(DeviceNear, device_near,
struct DeviceNear : Pointwise<2, 1> {
  static constexpr Dtypes dtypes = Dtypes::compare;
  static constexpr bool differentiable = false;
  template <class T> static bool forward(T a, T b, T d) { return abs(a - b) <= d; }
});
WEFT_REGISTER_OP(DeviceBoth, device_both,
struct DeviceBoth : Pointwise<2> {
  static constexpr Dtypes dtypes = Dtypes::logical;
  static constexpr bool differentiable = false;
  template <class T> static bool forward(T a, T b) { return (a != T(0)) & (b != T(0)); }
});
// clang-format on

namespace weft::gpu {
namespace {

Tensor values(const Dims& sizes, DType dtype = DType::f64) {
  Generator generator(3);
  return randn(sizes, {.dtype = DType::f64}, &generator).to(dtype);
}
bool same(const Tensor& device, const Tensor& host) {
  return device.device().is_cuda() && device.dtype() == host.dtype() && device.strides() == host.strides() &&
         equal(device.detach().to("cpu"), host.detach());
}

// On a real device own ops need the compiler.
#define NEED_CUSTOM()                                                                                           \
  NEED_DEVICES(1)                                                                                               \
  if (std::string why; !cuda::device_properties().emulated && !Nvrtc::load(&why)) {                             \
    CHECK_THROWS_WITH(device_snake(ones({2}, {.device = "cuda"}), 0.5), Catch::Matchers::Contains("libnvrtc")); \
    WARN("needs NVRTC: " << why);                                                                               \
    return;                                                                                                     \
  }

TEST_CASE("own ops on a device: the host's bits for every dtype and layout, one launch each") {
  NEED_CUSTOM();
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i32, DType::u8, DType::bool_}) {
    const Tensor x = is_floating(dtype) ? values({6, 16}, dtype) : values({6, 16}).mul(4).abs().to(dtype);
    const Tensor d = x.to("cuda");
    const uint64_t before = detail::cuda_backend()->launches();
    const Tensor y = device_snake(d, 0.5);
    CHECK(detail::cuda_backend()->launches() == before + 1);
    CHECK(same(y, device_snake(x, 0.5)));
    CHECK(same(device_snake(d.t(), 0.5), device_snake(x.t(), 0.5)));
    CHECK(same(device_snake(d.slice(1, 1, 16, 3), 0.5), device_snake(x.slice(1, 1, 16, 3), 0.5)));
    CHECK(same(device_gate(d, d.slice(0, 2, 3)), device_gate(x, x.slice(0, 2, 3))));
    CHECK(same(device_gate(d, 0.25), device_gate(x, 0.25)));
    CHECK(same(device_mix(d, d.t().reshape({6, 16}), 3), device_mix(x, x.t().reshape({6, 16}), 3)));
    CHECK(same(device_near(d, d.flip({1}), 1), device_near(x, x.flip({1}), 1)));
    CHECK(same(device_both(d, d.flip({0})), device_both(x, x.flip({0}))));
  }
  const Tensor none = device_snake(values({3, 0}).to("cuda"), 0.5);
  CHECK(none.numel() == 0);
  CHECK(same(device_snake(values({}).to("cuda"), 0.5), device_snake(values({}), 0.5)));
  // Mixed dtypes, and a number of the host among them.
  const Tensor a = values({4, 4}, DType::bf16), b = values({4}, DType::f32);
  CHECK(same(device_gate(a.to("cuda"), b.to("cuda")), device_gate(a, b)));
  CHECK(same(device_gate(a.to("cuda"), values({})), device_gate(a, values({}))));
}

TEST_CASE("own ops on a device: in place, out= and by name") {
  NEED_CUSTOM();
  const Tensor x = values({5, 7}, DType::f32);
  Tensor d = x.to("cuda"), to = empty({0}, {.dtype = DType::f32, .device = "cuda"}), host = x.clone();
  device_snake.out(to, d, 0.5);
  CHECK(same(to, device_snake(x, 0.5)));
  CHECK(device_snake.inplace(d, 0.5).is_same(d));
  device_snake.inplace(host, 0.5);
  CHECK(same(d, host));
  CHECK(same(call("device_snake", {d, 0.25}).as_tensor(), device_snake(host, 0.25)));
  Tensor wide = values({5, 7}).to("cuda");
  CHECK(has(message_of([&] { device_gate(wide, values({7})); }), "different devices"));
}

TEST_CASE("own ops on a device: gradients of every order are the host's") {
  NEED_CUSTOM();
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    Tensor hosts[2] = {values({4, 8}, dtype), values({8}, dtype)}, devices[2];
    for (int i = 0; i < 2; ++i) devices[i] = hosts[i].to("cuda").detach().set_requires_grad(true);
    for (Tensor& h : hosts) h.set_requires_grad(true);
    auto gradients = [](Tensor* in) {
      Tensor y = device_gate(device_snake(in[0], 0.7), in[1]);
      std::vector<Tensor> first = grad({y.sum()}, {in[0], in[1]}, {.create_graph = true});
      std::vector<Tensor> second = grad({(first[0] * first[0]).sum() + first[1].sum()}, {in[0], in[1]});
      first.insert(first.end(), second.begin(), second.end());
      return first;
    };
    const std::vector<Tensor> on_host = gradients(hosts), on_device = gradients(devices);
    for (size_t i = 0; i < on_host.size(); ++i) CHECK(same(on_device[i], on_host[i]));
  }
}

TEST_CASE("own ops on a device run in the order of their stream") {
  NEED_CUSTOM();
  const Tensor x = values({64}, DType::f32);
  const cuda::Stream side = cuda::Stream::create();
  Tensor y;
  {
    const cuda::StreamGuard on(side);
    y = x.to("cuda");
    for (int i = 0; i < 5; ++i) y = device_snake(y.add(1), 0.5);
  }
  side.synchronize();
  Tensor expected = x;
  for (int i = 0; i < 5; ++i) expected = device_snake(expected.add(1), 0.5);
  CHECK(same(y, expected));
}

// ---- compilation, which needs no device

TEST_CASE("own ops: their texts compile for devices; refused ones are told in the compiler's words") {
  std::string why;
  if (!Nvrtc::load(&why)) {
    WARN("needs NVRTC: " << why);
    return;
  }
  const test::TemporaryFolder folder;
  CodeCache cache(folder.file("kept/here"));
  const auto compile = [&](const char* name, int which, CustomKernel kernel, int architecture = 90) {
    return custom_code(*find_custom_op(name), which, kernel, architecture, cache);
  };
  const CompiledKernel rows = compile("device_snake", -1, CustomKernel::rows_bf16);
  CHECK(rows.image.substr(1, 3) == "ELF");
  CHECK(has(rows.name, "row_kernel"));
  CHECK(has(rows.image, rows.name.c_str()));
  CHECK(has(compile("device_snake", 0, CustomKernel::rows_f32).name, "Backward"));
  CHECK(has(compile("device_gate", 1, CustomKernel::strided_f64).name, "strided_kernel"));
  CHECK(compile("device_mix", -1, CustomKernel::strided_i64).image.substr(1, 3) == "ELF");
  CHECK(compile("device_both", -1, CustomKernel::strided_i64, 80).image.substr(1, 3) == "ELF");
  // Kept: the second time it is read, not compiled.
  const std::string path = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(folder.file("kept/here")))
      if (std::filesystem::file_size(entry.path()) > rows.image.size()) return entry.path().string();
    return std::string();
  }();
  CHECK(!path.empty());
  const CompiledKernel again = compile("device_snake", -1, CustomKernel::rows_bf16);
  CHECK(again.image == rows.image);
  CHECK(again.name == rows.name);

  static const CustomOpSource wrong{find_custom_op("device_snake")->info, "Wrong", "struct Wrong { missing name; };"};
  const std::string message = message_of([&] { custom_code(wrong, -1, CustomKernel::rows_f32, 90, cache); });
  CHECK(has(message, "device_snake: its text does not compile"));
  CHECK(has(message, "missing"));
}

}  // namespace
}  // namespace weft::gpu
