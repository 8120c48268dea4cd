#include "core/cuda.h"
#include "core/thread_state.h"
#include "tests/catch.h"
#include "tests/cuda/need_device.h"
#include "tests/same_bits.h"
#include "weft.h"

// Pointwise ops over mixed dtypes, and copies that turn memory around: the bits of the CPU.
using namespace weft;

TEST_CASE("f32 meets halves: rows, broadcasts, numbers, odd sizes and offsets") {
  NEED_DEVICES(1);
  manual_seed(3);
  NoGrad guard;
  const DType half = GENERATE(DType::bf16, DType::f16);
  const int64_t n = GENERATE(1, 4, 7, 64, 768, 1001);
  INFO(name(half) << " " << n);
  const Tensor a = randn({5, n}), b = randn({5, n}).to(half), row = randn({n}).to(half), column = randn({5, 1});
  const Tensor wide = randn({5, n + 3}).to(half),
               other = randn({5, n}).to(half == DType::f16 ? DType::bf16 : DType::f16);
  const auto all = [](const Tensor& a, const Tensor& b, const Tensor& row, const Tensor& column, const Tensor& wide,
                      const Tensor& other) {
    const int64_t n = a.size(1);
    Tensor into = b.clone();
    into.add_(a);
    return std::vector<Tensor>{a + b,         b - a, a * row,       row / a.abs().add(1),     column * b,
                               b + 0.5,       2 - b, b + other,     a + wide.narrow(1, 3, n), wide.narrow(1, 1, n) * a,
                               maximum(a, b), into,  a.t() + b.t(), pow(b.abs(), a)};
  };
  const auto here = all(a, b, row, column, wide, other);
  const auto there =
      all(a.to("cuda"), b.to("cuda"), row.to("cuda"), column.to("cuda"), wide.to("cuda"), other.to("cuda"));
  for (size_t k = 0; k < here.size(); ++k) {
    INFO("result " << k);
    if (k + 1 < here.size())
      CHECK(same_bits(here[k], there[k]));
    else
      CHECK(allclose(here[k], there[k].to("cpu"), 1e-5, 1e-6));
  }
}

TEST_CASE("transposed copies of every width, whole and cut tiles") {
  NEED_DEVICES(1);
  NoGrad guard;
  const DType dtype = GENERATE(DType::u8, DType::bf16, DType::f32, DType::f64);
  const auto [rows, columns] = GENERATE(std::pair<int64_t, int64_t>{64, 64}, std::pair<int64_t, int64_t>{130, 50},
                                        std::pair<int64_t, int64_t>{49, 131}, std::pair<int64_t, int64_t>{9, 200},
                                        std::pair<int64_t, int64_t>{70, 66});
  INFO(name(dtype) << " " << rows << " x " << columns);
  const Tensor x = arange(3 * rows * columns).remainder(251).view({3, rows, columns}).to(dtype), y = x.to("cuda");
  CHECK(same_bits(x.transpose(1, 2).contiguous(), y.transpose(1, 2).contiguous()));
  CHECK(same_bits(x.permute({2, 0, 1}).contiguous(), y.permute({2, 0, 1}).contiguous()));
  CHECK(same_bits(x.narrow(1, 1, rows - 2).transpose(1, 2).contiguous(),
                  y.narrow(1, 1, rows - 2).transpose(1, 2).contiguous()));
  CHECK(same_bits(x.narrow(2, 1, columns - 2).transpose(1, 2).contiguous(),
                  y.narrow(2, 1, columns - 2).transpose(1, 2).contiguous()));
}
