// Transforms against torchvision's results (tests/data/images, tools/make_golden_images.py), and what is random in
// them.
#include "data/transforms.h"

#include <cmath>
#include <functional>
#include <map>

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/random.h"
#include "data/serialize.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"
#include "tests/device.h"

using namespace weft;
using namespace weft::test;
using namespace weft::data::transforms;

namespace {

const StateDict& golden() {
  static const StateDict all = load(std::string(WEFT_SOURCE_DIR) + "/tests/data/images/transforms.npz").as_state_dict();
  return all;
}
const Tensor& expected(const std::string& name) {
  const Tensor* t = golden().find(name);
  REQUIRE(t);
  return *t;
}
double largest_difference(const Tensor& a, const Tensor& b) {
  return weft::abs(a.to(DType::f64).sub(b.to(DType::f64))).max().item<double>();
}
using F = std::function<Tensor(const Tensor&)>;

}  // namespace

TEST_CASE("transforms: torchvision's numbers") {
  const Resize::Options plain{.antialias = false}, nearest{.interpolation = Interpolation::nearest};
  const std::map<std::string, F> cases{
      {"resize_9_11", Resize(Size(9, 11))},
      {"resize_33_47", Resize(Size(33, 47))},
      {"resize_20_7", Resize(Size(20, 7))},
      {"resize_shorter_13", Resize(13)},
      {"resize_plain_9_11", Resize(Size(9, 11), plain)},
      {"resize_nearest_9_11", Resize(Size(9, 11), nearest)},
      {"center_crop_7_10", CenterCrop{{7, 10}}},
      {"center_crop_25_15", CenterCrop{{25, 15}}},
      {"pad_constant", Pad{{1, 2, 3, 4}, 1}},
      {"pad_edge", Pad{{1, 2}, 0, "edge"}},
      {"pad_reflect", Pad{3, 0, "reflect"}},
      {"gray", Grayscale()},
      {"gray3", Grayscale{3}},
      {"brightness", [](const Tensor& x) { return adjust_brightness(x, 1.4); }},
      {"contrast", [](const Tensor& x) { return adjust_contrast(x, 0.6); }},
      {"saturation", [](const Tensor& x) { return adjust_saturation(x, 1.7); }},
      {"hue", [](const Tensor& x) { return adjust_hue(x, 0.3); }},
      {"hue_back", [](const Tensor& x) { return adjust_hue(x, -0.21); }},
      {"blur",
       [](const Tensor& x) {
         return gaussian_blur(x, {3, 5}, 1.3);
       }},
      {"rotate_30", [](const Tensor& x) { return rotate(x, 30); }},
      {"rotate_90", [](const Tensor& x) { return rotate(x, 90); }},
      {"rotate_bilinear", [](const Tensor& x) { return rotate(x, -17.5, Interpolation::bilinear); }},
      {"flip_h", RandomHorizontalFlip{1}},
      {"flip_v", RandomVerticalFlip{1}},
  };
  int seen = 0;
  for (const auto& [name, transform] : cases)
    for (const char* dtype : {"u8", "f32"}) {
      INFO(name << " of " << dtype);
      const Tensor &x = expected(dtype), &y = expected(std::string(dtype) + "." + name);
      const Tensor kept = x.clone(), out = transform(x);
      REQUIRE(out.sizes() == y.sizes());
      CHECK(out.dtype() == y.dtype());
      // A sum that lies on a half, or on an integer that truncation cuts off, may fall to either side.
      const bool bytes = y.dtype() == DType::u8;
      CHECK(largest_difference(out, y) <= (bytes ? 1 : 2e-5));
      if (bytes) CHECK(out.ne(y).sum().item<int64_t>() <= y.numel() / 100);
      CHECK(x.equal(kept));
      ++seen;
    }
  CHECK(seen == 48);
}

TEST_CASE("transforms: conversions") {
  const Tensor &u8 = expected("u8"), &f32 = expected("f32");
  CHECK(same_bits(ToTensor()(u8), f32));
  CHECK(ToTensor()(u8[0]).sizes() == Dims{1, 20, 30});
  CHECK(largest_difference(ConvertDtype{DType::f32}(u8), expected("to_f32")) <= 6e-8);
  CHECK(same_bits(ConvertDtype{DType::u8}(f32), expected("to_u8")));
  CHECK(same_bits(ConvertDtype{DType::i16}(u8), expected("to_i16")));
  CHECK(same_bits(ConvertDtype{DType::u8}(expected("to_i16")), expected("from_i16")));
  CHECK(largest_difference(Normalize({0.4, 0.5, 0.6}, {0.2, 0.3, 0.4})(f32), expected("normalize")) <= 1e-6);
  const Compose both(ToTensor(), Normalize({0.5}, {0.5}));
  CHECK(both(u8).allclose(f32.sub(0.5).div(0.5)));
  CHECK(Lambda{[](const Tensor& x) { return x.mul(2); }}(f32).equal(f32.mul(2)));
}

TEST_CASE("transforms: what is random keeps its promises") {
  const Tensor& x = expected("f32");
  const auto average = [](auto f) {
    double sum = 0;
    for (int i = 0; i < 400; ++i) sum += f();
    return sum / 400;
  };
  manual_seed(1);
  CHECK(average([&] { return RandomHorizontalFlip{0.3}(x).equal(x) ? 0.0 : 1.0; }) == Approx(0.3).margin(0.08));
  CHECK(average([&] { return RandomErasing{0.6}(x).equal(x) ? 0.0 : 1.0; }) == Approx(0.6).margin(0.08));
  for (int i = 0; i < 50; ++i) {
    CHECK(RandomCrop{{8, 9}}(x).sizes() == Dims{3, 8, 9});
    CHECK(RandomCrop{{20, 30}, Padding(2)}(x).sizes() == Dims{3, 20, 30});
    CHECK(RandomCrop{{24, 30}, {}, true}(x).sizes() == Dims{3, 24, 30});
    CHECK(RandomResizedCrop{{8, 9}}(x).sizes() == Dims{3, 8, 9});
    const Tensor erased = RandomErasing{1, {0.1, 0.2}, {0.5, 2}, 7.0}(x);
    const double part = erased.eq(7).sum().item<double>() / static_cast<double>(x.numel());
    CHECK((part > 0.05 && part < 0.25));
    const Tensor jittered = ColorJitter{0.4, 0.4, 0.4, 0.1}(x);
    CHECK((jittered.min().item<double>() >= 0 && jittered.max().item<double>() <= 1));
    CHECK(GaussianBlur{3}(x).sizes() == x.sizes());
    CHECK(RandomRotation{{-40, 40}}(x).sizes() == x.sizes());
  }
  // A crop of the whole image, resized to its own size, is the image.
  CHECK(RandomResizedCrop{{20, 30}, {1, 1}, {1.5, 1.5}}(x).equal(x));
  const Compose all(RandomResizedCrop{{16, 16}}, RandomHorizontalFlip(), ColorJitter{0.4, 0.4, 0.4, 0.1},
                    RandomErasing{0.5});
  manual_seed(5);
  const Tensor first = all(x);
  CHECK_FALSE(all(x).equal(first));
  manual_seed(5);
  CHECK(all(x).equal(first));
}

TEST_CASE("transforms: what does not fit is one clear error") {
  const Tensor& x = expected("u8");
  CHECK(error_of([&] { Normalize({0.5}, {0.5})(x); }).find("use ToTensor first") != std::string::npos);
  CHECK(error_of([&] {
          Normalize({0.5, 0.5}, {1})(expected("f32"));
        }).find("mean has 2 values, the image 3 channels") != std::string::npos);
  CHECK(error_of([&] { Normalize({0.5}, {0}); }).find("must not be 0") != std::string::npos);
  CHECK(error_of([&] { RandomCrop{{40, 4}}(x); }).find("do not fit into an image of 20 x 30") != std::string::npos);
  CHECK(error_of([&] { Resize(Size(0, 3)); }).find("must be positive") != std::string::npos);
  CHECK(error_of([&] { Resize(3)(Tensor()); }).find("undefined") != std::string::npos);
  CHECK(error_of([&] { Resize(3)(zeros({4})); }).find(test::here("got [4] f32 cpu")) != std::string::npos);
  CHECK(error_of([&] { gaussian_blur(x, 4, 1); }).find("must be odd") != std::string::npos);
  CHECK(error_of([&] { adjust_hue(x, 0.7); }).find("[-0.5, 0.5]") != std::string::npos);
  CHECK(error_of([&] { Grayscale()(zeros({2, 4, 4})); }).find("expects 1 or 3 channels") != std::string::npos);
  CHECK(error_of([&] { Pad{1, 0, "wrap"}(x); }).find("got wrap") != std::string::npos);
  CHECK(error_of([&] { RandomErasing{1, {0.1, 0.2}, {1, 1}, {}}(x); }).find("give a value") != std::string::npos);
  CHECK(error_of([&] { ConvertDtype{DType::i64}(expected("f32")); }).find("does not hold") != std::string::npos);
}
