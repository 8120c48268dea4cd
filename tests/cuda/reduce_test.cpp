#include "core/ops/reduce.h"

#include <algorithm>
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
  // NaN is NaN: its sign and payload are nobody's promise.
  const auto plain = [](const Tensor& t) {
    const Tensor host = t.to(Device("cpu")).contiguous();
    return is_floating(t.dtype()) ? where(host.isnan(), std::numeric_limits<double>::quiet_NaN(), host) : host;
  };
  const Tensor b = plain(given), c = plain(a);
  return c.sizes() == b.sizes() && c.dtype() == b.dtype() && std::memcmp(c.data_ptr(), b.data_ptr(), c.nbytes()) == 0;
}

struct Layout {
  const char* name;
  std::function<Tensor(const Tensor&)> of;
};

const Layout kLayouts[] = {
    {"contiguous", [](const Tensor& x) { return x; }},
    {"transposed", [](const Tensor& x) { return x.dim() < 2 ? x : x.transpose(0, -1); }},
    {"unaligned",
     [](const Tensor& x) {
       return x.dim() == 0
                  ? x
                  : x.narrow(-1, x.sizes()[x.dim() - 1] > 1, x.sizes()[x.dim() - 1] - (x.sizes()[x.dim() - 1] > 1));
     }},
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

const Dims kShapes[] = {{},        {1},        {7},        {64},         {1000},          {1030},
                        {40000},   {5, 4},     {300, 3},   {3, 5, 7},    {8, 16, 32},     {2, 1500},
                        {1500, 2}, {1500, 36}, {2100, 17}, {3, 4, 5, 6}, {2, 3, 1100, 4}, {70, 40},
                        {0, 3}};

void compare_all(const Reduce& f, std::initializer_list<DType> dtypes) {
  for (DType t : dtypes)
    for (const Dims& sizes : kShapes) compare(sizes, t, f);
#if defined(WEFT_CUDA_EMULATE)
  gpu::emulate::settings().seed = 7;
  for (const Dims& sizes : {Dims{1030}, Dims{8, 16, 32}, Dims{2, 1500}, Dims{1500, 36}})
    compare(sizes, *dtypes.begin(), f);
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

TEST_CASE("cuda: products, extremes and truth have the bits of the CPU") {
  if (!cuda::is_available()) return;
  auto product = [](const Tensor& x, const ReduceOptions& o) { return prod(x, o); };
  compare_all(product, {DType::f32, DType::bf16, DType::i64, DType::u8});
  auto is_any = [](const Tensor& x, const ReduceOptions& o) { return any(x, o); };
  auto are_all = [](const Tensor& x, const ReduceOptions& o) { return all(x, o); };
  auto count = [](const Tensor& x, const ReduceOptions& o) { return count_nonzero(x, o.dim); };
  compare_all(is_any, {DType::f32, DType::bool_, DType::u8});
  compare_all(are_all, {DType::bool_, DType::i32});
  compare_all(count, {DType::f32, DType::bool_, DType::f16});
  auto unless_empty = [](const Tensor& x, const ReduceOptions& o) { return x.numel() ? amax(x, o) : x; };
  compare_all(unless_empty, {DType::f32, DType::f64, DType::bf16, DType::i32, DType::bool_});
  auto least = [](const Tensor& x, const ReduceOptions& o) { return x.numel() ? amin(x, o) : x; };
  compare_all(least, {DType::f32, DType::f64, DType::f16, DType::i64, DType::u8, DType::bool_});
}

TEST_CASE("cuda: variances and norms have the bits of the CPU") {
  if (!cuda::is_available()) return;
  auto variance = [](const Tensor& x, const ReduceOptions& o) {
    return x.numel() ? nan_to_num(var(x, {.dim = o.dim, .keepdim = o.keepdim}), -1) : x;
  };
  compare_all(variance, {DType::f32, DType::f64, DType::bf16});
  for (double p : {0.0, 1.0, 2.0})
    compare_all([p](const Tensor& x, const ReduceOptions& o) { return norm(x, p, o); },
                {DType::f32, DType::f16, DType::f64});
  for (double p : {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()})
    compare_all([p](const Tensor& x, const ReduceOptions& o) { return x.numel() ? norm(x, p, o) : x; },
                {DType::f32, DType::f64});
}

TEST_CASE("cuda: the least of zeros, and of the ends of i64") {
  if (!cuda::is_available()) return;
  const Tensor zeros = tensor({0.0, -0.0, 0.0, -0.0, -0.0, 0.0}).view({3, 2});
  for (DType t : {DType::f32, DType::f64, DType::bf16}) {
    const Tensor x = zeros.to(t), y = x.to(Device("cuda"));
    CHECK(same_bits(amin(x, {.dim = {1}}), amin(y, {.dim = {1}})));
    CHECK(same_bits(amax(x, {.dim = {1}}), amax(y, {.dim = {1}})));
    CHECK(same_bits(argmin(x, 1), argmin(y, 1)));
  }
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor ends = tensor({inf, inf, -inf, -inf, inf, -inf, nan, 1.0, 1.0, nan, 0.0, nan}).view({6, 2});
  for (DType t : {DType::f32, DType::f64, DType::f16}) {
    const Tensor x = ends.to(t), y = x.to(Device("cuda"));
    CHECK(same_bits(nan_to_num(amin(x, {.dim = {1}}), 7), nan_to_num(amin(y, {.dim = {1}}), 7)));
    CHECK(same_bits(argmin(x, 1), argmin(y, 1)));
    CHECK(same_bits(all(x, {.dim = {1}}), all(y, {.dim = {1}})));
    CHECK(same_bits(any(x, {.dim = {0}}), any(y, {.dim = {0}})));
  }
  CHECK(amin(empty({0, 3}, {.device = Device("cuda")}), {.dim = {1}}).sizes() == Dims{0});
  const Tensor x = tensor(std::vector<int64_t>{INT64_MAX, -1, INT64_MIN, 0}), y = x.to(Device("cuda"));
  CHECK(same_bits(amin(x), amin(y)));
  CHECK(same_bits(amax(x), amax(y)));
  CHECK(same_bits(argmin(x), argmin(y)));
  CHECK(same_bits(amin(x.slice(0, 0, 1)), amin(y.slice(0, 0, 1))));
  CHECK(same_bits(argmin(x.slice(0, 0, 1)), argmin(y.slice(0, 0, 1))));
}

TEST_CASE("cuda: places of extremes are those of the CPU") {
  if (!cuda::is_available()) return;
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::bool_})
    for (const Dims& sizes : kShapes)
      for (bool nan : {false, true}) {
        Tensor x = round(empty(sizes).normal_() * 2);  // ties
        if (nan && is_floating(t) && x.numel() > 3) x = where(x.eq(2), std::numeric_limits<double>::quiet_NaN(), x);
        x = x.add(0.0).to(t);  // no -0
        if (x.numel() == 0) continue;
        const Tensor y = x.to(Device("cuda"));
        CHECK(same_bits(argmax(x), argmax(y)));
        CHECK(same_bits(argmin(x), argmin(y)));
        for (int d = 0; d < x.dim(); ++d)
          for (const Layout& layout : kLayouts) {
            const Tensor a = layout.of(x), b = layout.of(y);
            INFO(x.numel() << " elements, dim " << d << " " << layout.name << " " << int(t));
            CHECK(same_bits(std::get<0>(max(a, d)), std::get<0>(max(b, d))));
            CHECK(same_bits(std::get<1>(max(a, d)), std::get<1>(max(b, d))));
            CHECK(same_bits(std::get<0>(min(a, d)), std::get<0>(min(b, d))));
            CHECK(same_bits(std::get<1>(min(a, d)), std::get<1>(min(b, d))));
          }
      }
}

TEST_CASE("cuda: running sums and products") {
  if (!cuda::is_available()) return;
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i8})
    for (const Dims& sizes : {Dims{1}, Dims{70}, Dims{5000}, Dims{70000}, Dims{3, 3000, 2}, Dims{5000, 40},
                              Dims{40, 5000}, Dims{4100, 70}, Dims{4, 5, 6}})
      for (int d = 0; d < sizes.size(); ++d) {
        Tensor x = empty(sizes).normal_();
        if (!is_floating(t)) x = round(x * 3);
        x = x.to(t);
        const Tensor y = x.to(Device("cuda"));
        INFO(x.numel() << " elements, dim " << d << " " << int(t));
        const Tensor a = cumsum(x, d, t), b = cumsum(y, d, t);
        // Chunks of one long line are added in another order.
        const double off = a.to(DType::f64).sub(b.to(Device("cpu")).to(DType::f64)).abs().amax().item().f64();
        // Halves by their last place where the sums are largest.
        const double largest = a.to(DType::f64).abs().amax().item().f64();
        CHECK(off <= (t == DType::bf16  ? std::max(2.0, largest / 128)
                      : t == DType::f16 ? 0.25
                      : t == DType::f32 ? 1e-4
                      : t == DType::f64 ? 1e-10
                                        : 0));
        if (!is_floating(t)) CHECK(same_bits(cumprod(x, d, t), cumprod(y, d, t)));
        CHECK(same_bits(b, cumsum(y, d, t)));
      }
}

TEST_CASE("cuda: long rows and columns have the bits of the CPU") {
  if (!cuda::is_available()) return;
  for (const Dims& sizes : {Dims{3000000}, Dims{3, 70001}, Dims{5000, 3}, Dims{2, 3000, 2}})
    compare(sizes, DType::f32, [](const Tensor& x, const ReduceOptions& o) { return sum(x, o); });
  compare({2100000}, DType::bf16, [](const Tensor& x, const ReduceOptions& o) { return sum(x, o); });
}
