#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "data/transforms.h"

namespace weft::data::transforms {
namespace {

using detail::draw;

Tensor crop(const Tensor& x, int64_t top, int64_t left, int64_t height, int64_t width) {
  return x.narrow(-2, top, height).narrow(-1, left, width);
}

int64_t rounded(double x) { return static_cast<int64_t>(std::nearbyint(x)); }  // halves to even, as Python

struct Box {
  int64_t top, left, height, width;
};

/// A random rectangle of a random fraction of the area and ratio of sides; none where ten tries do not fit.
std::optional<Box> random_box(int64_t height, int64_t width, Range scale, Range ratio, bool erasing) {
  const double area = static_cast<double>(height * width);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * draw(scale), aspect = std::exp(draw({std::log(ratio.low), std::log(ratio.high)}));
    // Cropping takes the ratio as width to height, erasing as height to width.
    const int64_t longer = rounded(std::sqrt(target * aspect)), other = rounded(std::sqrt(target / aspect));
    const int64_t w = erasing ? other : longer, h = erasing ? longer : other;
    const bool fits = erasing ? h < height && w < width : w > 0 && h > 0 && w <= width && h <= height;
    if (!fits) continue;
    const int64_t top = detail::draw_below(height - h + 1), left = detail::draw_below(width - w + 1);
    return Box{top, left, h, w};
  }
  return std::nullopt;
}

template <class T>
void rotate_planes(const T* from, T* to, int64_t planes, int64_t h, int64_t w, double degrees, bool bilinear, T fill) {
  const double angle = degrees * std::numbers::pi / 180, c = std::cos(angle), s = std::sin(angle);
  const double cx = 0.5 * static_cast<double>(w - 1), cy = 0.5 * static_cast<double>(h - 1);
  // A grid that misses the middle of a pixel by rounding alone must not fall to the other side of a half.
  const auto settled = [](double v) { return std::round(v * 1e6) * 1e-6; };
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x) {
      const double dx = static_cast<double>(x) - cx, dy = static_cast<double>(y) - cy;
      const double sx = settled(c * dx - s * dy + cx), sy = settled(s * dx + c * dy + cy);
      const auto at = [&](const T* plane, int64_t px, int64_t py) {
        return px >= 0 && py >= 0 && px < w && py < h ? plane[py * w + px] : fill;
      };
      for (int64_t p = 0; p < planes; ++p) {
        const T* plane = from + p * h * w;
        T& out = to[(p * h + y) * w + x];
        if (!bilinear) {
          out = at(plane, rounded(sx), rounded(sy));
          continue;
        }
        const double fx = std::floor(sx), fy = std::floor(sy), ax = sx - fx, ay = sy - fy;
        const auto px = static_cast<int64_t>(fx), py = static_cast<int64_t>(fy);
        const double value = (1 - ay) * ((1 - ax) * at(plane, px, py) + ax * at(plane, px + 1, py)) +
                             ay * ((1 - ax) * at(plane, px, py + 1) + ax * at(plane, px + 1, py + 1));
        if constexpr (std::is_integral_v<T>)
          out = static_cast<T>(std::nearbyint(value));
        else
          out = static_cast<T>(value);
      }
    }
}

}  // namespace

Tensor CenterCrop::operator()(const Tensor& x) const {
  detail::check_image(x, "CenterCrop");
  int64_t h = x.size(-2), w = x.size(-1);
  Tensor image = x;
  const int64_t more_h = std::max<int64_t>(0, size.height - h), more_w = std::max<int64_t>(0, size.width - w);
  if (more_h > 0 || more_w > 0) {
    image = Pad{{more_w / 2, more_h / 2, (more_w + 1) / 2, (more_h + 1) / 2}}(x);
    h += more_h;
    w += more_w;
  }
  return crop(image, rounded(static_cast<double>(h - size.height) / 2),
              rounded(static_cast<double>(w - size.width) / 2), size.height, size.width);
}

Tensor Pad::operator()(const Tensor& x) const {
  detail::check_image(x, "Pad");
  const std::vector<int64_t> sides{padding.left, padding.right, padding.top, padding.bottom};
  for (const int64_t n : sides) WEFT_CHECK(n >= 0, "Pad: padding must not be negative; got {}", n);
  if (mode == "constant")
    return pad(x, sides, "constant", x.is_floating_point() ? Scalar(fill) : Scalar(rounded(fill)));
  WEFT_CHECK(mode == "edge" || mode == "reflect", "Pad: mode must be constant, edge or reflect; got {}", mode);
  // One leading dimension, as the op has it; integers up to 16 bits pass through f32 unchanged.
  const Tensor planes = x.reshape({-1, x.size(-2), x.size(-1)});
  const Tensor out =
      pad(planes.is_floating_point() ? planes : planes.to(DType::f32), sides, mode == "edge" ? "replicate" : "reflect");
  Dims sizes = x.sizes();
  sizes[sizes.size() - 2] = out.size(1);
  sizes[sizes.size() - 1] = out.size(2);
  return out.to(x.dtype()).view(sizes);
}

Tensor RandomCrop::operator()(const Tensor& x) const {
  detail::check_image(x, "RandomCrop");
  Tensor image = padding ? Pad{*padding, fill, padding_mode}(x) : x;
  const auto missing = [](int64_t wanted, int64_t there) { return std::max<int64_t>(0, wanted - there); };
  const int64_t more_w = missing(size.width, image.size(-1)), more_h = missing(size.height, image.size(-2));
  if (pad_if_needed && (more_w > 0 || more_h > 0)) image = Pad{{more_w, more_h}, fill, padding_mode}(image);
  const int64_t h = image.size(-2), w = image.size(-1);
  WEFT_CHECK(h >= size.height && w >= size.width,
             "RandomCrop: {} x {} do not fit into an image of {} x {}; give padding, or pad_if_needed", size.height,
             size.width, h, w);
  const int64_t top = detail::draw_below(h - size.height + 1), left = detail::draw_below(w - size.width + 1);
  return crop(image, top, left, size.height, size.width);
}

Tensor RandomResizedCrop::operator()(const Tensor& x) const {
  detail::check_image(x, "RandomResizedCrop");
  const int64_t h = x.size(-2), w = x.size(-1);
  std::optional<Box> box = random_box(h, w, scale, ratio, false);
  if (!box) {  // the middle, with the nearest ratio that is allowed
    const double now = static_cast<double>(w) / static_cast<double>(h);
    Box middle{0, 0, h, w};
    if (now < ratio.low) middle.height = std::min(h, rounded(static_cast<double>(w) / ratio.low));
    if (now > ratio.high) middle.width = std::min(w, rounded(static_cast<double>(h) * ratio.high));
    middle.top = (h - middle.height) / 2;
    middle.left = (w - middle.width) / 2;
    box = middle;
  }
  return detail::resize(crop(x, box->top, box->left, box->height, box->width), size.height, size.width, options);
}

Tensor RandomHorizontalFlip::operator()(const Tensor& x) const {
  detail::check_image(x, "RandomHorizontalFlip");
  return draw() < p ? x.flip({-1}) : x;
}
Tensor RandomVerticalFlip::operator()(const Tensor& x) const {
  detail::check_image(x, "RandomVerticalFlip");
  return draw() < p ? x.flip({-2}) : x;
}

Tensor rotate(const Tensor& x, double degrees, Interpolation interpolation, double fill) {
  detail::check_image(x, "rotate");
  WEFT_CHECK(x.device().is_cpu() && std::isfinite(degrees), "rotate: needs an image on the CPU and a finite angle");
  const bool bilinear = interpolation == Interpolation::bilinear, bytes = x.dtype() == DType::u8;
  WEFT_CHECK_TYPE(bytes || x.is_floating_point(), "rotate: needs u8 or a floating image, got {}", x);
  const DType compute = bytes ? DType::u8 : DType::f32;
  const Tensor image = x.detach().to(compute).contiguous(),
               out = empty(x.sizes(), {.dtype = compute, .device = DeviceType::cpu});
  const int64_t h = x.size(-2), w = x.size(-1), planes = x.numel() / (h * w);
  if (bytes)
    rotate_planes(image.data<uint8_t>(), out.data<uint8_t>(), planes, h, w, degrees, bilinear,
                  static_cast<uint8_t>(std::clamp(fill, 0.0, 255.0)));
  else
    rotate_planes(image.data<float>(), out.data<float>(), planes, h, w, degrees, bilinear, static_cast<float>(fill));
  return out.to(x.dtype());
}
Tensor RandomRotation::operator()(const Tensor& x) const { return rotate(x, draw(degrees), interpolation, fill); }

Tensor RandomErasing::operator()(const Tensor& x) const {
  detail::check_image(x, "RandomErasing");
  WEFT_CHECK_TYPE(value || x.is_floating_point(), "RandomErasing: normals need a floating image, got {}; give a value",
                  x);
  if (draw() >= p) return x;
  const std::optional<Box> box = random_box(x.size(-2), x.size(-1), scale, ratio, true);
  if (!box) return x;
  Tensor out = x.clone();
  Tensor part = crop(out, box->top, box->left, box->height, box->width);
  if (value)
    part.fill_(x.is_floating_point() ? Scalar(*value) : Scalar(rounded(*value)));
  else
    part.copy_(randn(part.sizes(), {.dtype = x.dtype(), .device = x.device()}));
  return out;
}

}  // namespace weft::data::transforms
