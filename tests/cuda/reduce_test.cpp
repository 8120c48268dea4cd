#include "core/ops/reduce.h"

#include <cstring>
#include <functional>
#include <limits>

#include "core/cuda.h"
#include "core/ops/copy.h"
#include "core/ops/extreme.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/scan.h"
#include "core/ops/statistics.h"
#include "tests/catch.h"
#if defined(WEFT_CUDA_EMULATE)
#include "kernels/cuda/launch.h"
#endif

using namespace weft;

namespace {

bool same_bits(const Tensor& a, const Tensor& given) {
  const Tensor b = given.to(Device("cpu")).contiguous(), c = a.contiguous();
  return c.sizes() == b.sizes() && c.dtype() == b.dtype() && std::memcmp(c.data_ptr(), b.data_ptr(), c.nbytes()) == 0;
}

struct Layout {
  const char* name;
  std::function<Tensor(const Tensor&)> of;
};

const Layout kLayouts[] = {
    {"contiguous", [](const Tensor& x) { return x; }},
    {"transposed", [](const Tensor& x) { return x.dim() < 2 ? x : x.transpose(0, -1); }},
    {"unaligned", [](const Tensor& x) { return x.dim() == 0 ? x : x.narrow(-1, x.sizes()[x.dim() - 1] > 1, x.sizes()[x.dim() - 1] - (x.sizes()[x.dim() - 1] > 1)); }},
};

using Reduce = std::function<Tensor(const Tensor&, const ReduceOptions&)>;

// Every set of reduced dimensions of every layout of `sizes`.
void compare(const Dims& sizes, DType dtype, const Reduce& f) {
  Tensor x = empty(sizes, {.dtype = DType::f32}).normal_();
  if (!is_floating(dtype)) x = round(x * 3);
  x = x.to(dtype);
  const Tensor there = x.to(Device("cuda"));
  for (const Layout& layout : kLayouts) {
    const Tensor a = layout.of(x), b = layout.of(there);
    for (int mask = 0; mask < 1 << sizes.size(); ++mask) {
      ReduceOptions o;
      o.dim.all = false;
      for (int d = 0; d < sizes.size(); ++d)
        if (mask >> d & 1) o.dim.dims.push_back(d);
      INFO(a.numel() << " elements, " << static_cast<int>(dtype) << " " << layout.name << " mask " << mask);
      CHECK(same_bits(f(a, o), f(b, o)));
    }
  }
}

const Dims kShapes[] = {{}, {1}, {7}, {64}, {1000}, {1030}, {40000}, {5, 4}, {300, 3}, {3, 5, 7}, {8, 16, 32},
                        {2, 1500}, {1500, 2}, {1500, 36}, {2100, 17}, {3, 4, 5, 6}, {2, 3, 1100, 4}, {70, 40}, {0, 3}};

void compare_all(const Reduce& f, std::initializer_list<DType> dtypes) {
#if defined(WEFT_CUDA_EMULATE)
  for (uint64_t seed : {0, 7}) {
    gpu::emulate::settings().seed = seed;
#endif
    for (DType t : dtypes)
      for (const Dims& sizes : kShapes) compare(sizes, t, f);
#if defined(WEFT_CUDA_EMULATE)
  }
  gpu::emulate::settings().seed = 0;
#endif
}

constexpr auto kFloating = {DType::f32, DType::f64, DType::bf16, DType::f16};
constexpr auto kInteger = {DType::i64, DType::i32, DType::i8, DType::u8, DType::bool_};

}  // namespace

TEST_CASE("cuda: sums and means have the bits of the CPU") {
  if (!cuda::is_available()) return;
  compare_all([](const Tensor& x, const ReduceOptions& o) { return sum(x, o); }, kFloating);
  compare_all([](const Tensor& x, const ReduceOptions& o) { return sum(x, o); }, kInteger);
  compare_all([](const Tensor& x, const ReduceOptions& o) { return mean(x, o); }, {DType::f32, DType::bf16});
  compare_all(
      [](const Tensor& x, ReduceOptions o) {
        o.dtype = DType::f64;
        return sum(x, o);
      },
      {DType::f32, DType::i32, DType::bool_});
}

TEST_CASE("cuda: long rows and columns have the bits of the CPU") {
  if (!cuda::is_available()) return;
  for (const Dims& sizes : {Dims{3000000}, Dims{3, 70001}, Dims{50000, 3}, Dims{2, 40000, 2}})
    compare(sizes, DType::f32, [](const Tensor& x, const ReduceOptions& o) { return sum(x, o); });
  compare({2100000}, DType::bf16, [](const Tensor& x, const ReduceOptions& o) { return sum(x, o); });
}
