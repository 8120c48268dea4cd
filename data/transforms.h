#pragma once
#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/ops/shape.h"
#include "core/tensor.h"

// torchvision.transforms.v2 on tensors: images [.., channels, height, width], u8 (0 .. 255) or floating (0 .. 1).
// Random ones draw from default_generator(), which inside a DataLoader is that of the sample. Each is a value and may
// be called by several threads at once.
namespace weft::data::transforms {

/// Height and width; one number stands for both.
struct Size {
  int64_t height = 0, width = 0;
  Size(int64_t side) : height(side), width(side) {}
  Size(int64_t height, int64_t width) : height(height), width(width) {}
};
/// Smallest and largest value.
struct Range {
  double low = 0, high = 0;
};
enum class Interpolation : uint8_t { nearest, bilinear };

/// One after the other.
class Compose {
 public:
  template <std::invocable<const Tensor&>... T>
  requires(sizeof...(T) > 1) explicit Compose(T... t) : all_{std::function<Tensor(const Tensor&)>(std::move(t))...} {}
  explicit Compose(std::vector<std::function<Tensor(const Tensor&)>> all) : all_(std::move(all)) {}
  Tensor operator()(const Tensor& x) const;

 private:
  std::vector<std::function<Tensor(const Tensor&)>> all_;
};

/// u8 becomes f32 in [0, 1]; other dtypes stay. [height, width] becomes [1, height, width].
struct ToTensor {
  Tensor operator()(const Tensor& x) const;
};
/// Another dtype, with its range of values: integers fill theirs, floats have [0, 1] (to_dtype with scale=True).
struct ConvertDtype {
  DType dtype = DType::f32;
  Tensor operator()(const Tensor& x) const;
};
/// (x - mean) / std for each channel of a floating image; one value stands for all channels.
class Normalize {
 public:
  Normalize(std::vector<double> mean, std::vector<double> std);
  Tensor operator()(const Tensor& x) const;

 private:
  std::vector<double> mean_, std_;
};
/// Any function.
struct Lambda {
  std::function<Tensor(const Tensor&)> f;
  Tensor operator()(const Tensor& x) const { return f(x); }
};

// ---- geometry

/// To a height and width, or, given one number, with that as the shorter side. Bilinear with antialias weighs all
/// pixels under the filter (as PIL); u8 is rounded as PyTorch's own u8 kernel does.
class Resize {
 public:
  struct Options {
    Interpolation interpolation = Interpolation::bilinear;
    bool antialias = true;
  };
  Resize(int64_t shorter_side) : Resize(shorter_side, Options()) {}
  Resize(int64_t shorter_side, Options options);
  Resize(Size size) : Resize(size, Options()) {}
  Resize(Size size, Options options);
  Tensor operator()(const Tensor& x) const;

 private:
  std::optional<int64_t> side_;
  Size size_;
  Options options_;
};
/// The middle; smaller images are padded with 0.
struct CenterCrop {
  Size size;
  Tensor operator()(const Tensor& x) const;
};
/// Left, top, right, bottom; one number stands for all, two for horizontal and vertical.
struct Padding {
  int64_t left = 0, top = 0, right = 0, bottom = 0;
  Padding(int64_t all) : left(all), top(all), right(all), bottom(all) {}
  Padding(int64_t horizontal, int64_t vertical)
      : left(horizontal), top(vertical), right(horizontal), bottom(vertical) {}
  Padding(int64_t left, int64_t top, int64_t right, int64_t bottom)
      : left(left), top(top), right(right), bottom(bottom) {}
};
/// mode: "constant" (fill), "edge", "reflect".
struct Pad {
  Padding padding;
  double fill = 0;
  std::string mode = "constant";
  Tensor operator()(const Tensor& x) const;
};
/// A random part of the image, which is padded before; weft::Error when it is smaller and pad_if_needed is not set.
struct RandomCrop {
  Size size;
  std::optional<Padding> padding = {};
  bool pad_if_needed = false;
  double fill = 0;
  std::string padding_mode = "constant";
  Tensor operator()(const Tensor& x) const;
};
/// A random part of a random fraction of the area (scale) and ratio of width to height, resized.
struct RandomResizedCrop {
  Size size;
  Range scale{0.08, 1.0}, ratio{3.0 / 4, 4.0 / 3};
  Resize::Options options = {};
  Tensor operator()(const Tensor& x) const;
};
struct RandomHorizontalFlip {
  double p = 0.5;
  Tensor operator()(const Tensor& x) const;
};
struct RandomVerticalFlip {
  double p = 0.5;
  Tensor operator()(const Tensor& x) const;
};
/// By an angle of the range, counter-clockwise, in degrees, about the middle; the size stays. Nearest or bilinear.
struct RandomRotation {
  Range degrees;
  Interpolation interpolation = Interpolation::nearest;
  double fill = 0;
  Tensor operator()(const Tensor& x) const;
};
/// The same by a given angle (torchvision.transforms.functional.rotate).
Tensor rotate(const Tensor& x, double degrees, Interpolation interpolation = Interpolation::nearest, double fill = 0);
/// With probability p, a random rectangle becomes `value`, or standard normals where there is none (on u8: needs a
/// value).
struct RandomErasing {
  double p = 0.5;
  Range scale{0.02, 0.33}, ratio{0.3, 3.3};
  std::optional<double> value = 0.0;
  Tensor operator()(const Tensor& x) const;
};

// ---- colour

/// ITU-R 601 luma of RGB, in 1 or 3 equal channels.
struct Grayscale {
  int channels = 1;
  Tensor operator()(const Tensor& x) const;
};
/// Random brightness, contrast, saturation (factors from [max(0, 1 - v), 1 + v]) and hue (from [-v, v], v <= 0.5), in
/// random order.
struct ColorJitter {
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;
  Tensor operator()(const Tensor& x) const;
};
Tensor adjust_brightness(const Tensor& x, double factor);
Tensor adjust_contrast(const Tensor& x, double factor);
Tensor adjust_saturation(const Tensor& x, double factor);
/// factor: of a turn, in [-0.5, 0.5].
Tensor adjust_hue(const Tensor& x, double factor);
/// A Gaussian of a random standard deviation, over kernel_size (odd) pixels, borders reflected.
struct GaussianBlur {
  Size kernel_size;
  Range sigma{0.1, 2.0};
  Tensor operator()(const Tensor& x) const;
};
Tensor gaussian_blur(const Tensor& x, Size kernel_size, double sigma);

namespace detail {
/// An image of at least [height, width]; weft::Error otherwise.
void check_image(const Tensor& x, const char* what);
/// Of default_generator(): [0, 1), and integers below n.
double draw();
double draw(Range range);
int64_t draw_below(int64_t n);
/// Largest value of an image of this dtype: 1 for floats.
double max_value(DType t);
Tensor resize(const Tensor& x, int64_t height, int64_t width, const Resize::Options& options);
}  // namespace detail

}  // namespace weft::data::transforms
