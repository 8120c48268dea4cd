#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/ops/conv.h"
#include "core/ops/pointwise_api.h"
#include "data/transforms.h"

namespace weft::data::transforms {
namespace {

/// [.., 1, height, width] in a floating dtype, not rounded.
Tensor luma(const Tensor& x, const char* what) {
  detail::check_image(x, what);
  const int64_t channels = x.dim() > 2 ? x.size(-3) : 0;
  WEFT_CHECK(channels == 1 || channels == 3, "{}: expects 1 or 3 channels, got {}", what, x);
  const Tensor values = x.is_floating_point() ? x : x.to(DType::f32);
  if (channels == 1) return values;
  const auto channel = [&](int64_t c) { return values.narrow(-3, c, 1); };
  return channel(0).mul(0.2989).add_(channel(1), 0.587).add_(channel(2), 0.114);
}

Tensor to_image(const Tensor& values, const Tensor& like) { return values.to(like.dtype()); }

/// x factor + other (1 - factor), within the range of values of x.
Tensor blend(const Tensor& x, const Tensor& other, double factor) {
  const Tensor values = x.is_floating_point() ? x : x.to(DType::f32);
  return to_image(values.mul(factor).add(other, 1 - factor).clamp_(0, detail::max_value(x.dtype())), x);
}

void check_factor(double factor, const char* what) {
  WEFT_CHECK(factor >= 0 && std::isfinite(factor), "{}: the factor must not be negative; got {}", what, factor);
}

/// Turns the hue of one RGB pixel in [0, 1] (the formulas of torchvision's _rgb_to_hsv and _hsv_to_rgb).
std::array<float, 3> turn_hue(float r, float g, float b, float by) {
  const float high = std::max({r, g, b}), low = std::min({r, g, b}), range = high - low;
  const bool flat = high == low;
  const float saturation = range / (flat ? 1 : high), divisor = flat ? 1 : range;
  const float rc = (high - r) / divisor, gc = (high - g) / divisor, bc = (high - b) / divisor;
  float hue = high == r ? bc - gc : high == g ? 2 + rc - bc : 4 + gc - rc;
  hue = std::fmod(hue / 6 + 1, 1.0f);
  hue += by;
  hue -= std::floor(hue);
  const float sixth = std::floor(hue * 6), f = hue * 6 - sixth;
  const auto within = [](float v) { return std::clamp(v, 0.0f, 1.0f); };
  const float sxf = saturation * f, p = within((1 - saturation) * high), q = within((1 - sxf) * high),
              t = within((sxf + 1 - saturation) * high), v = high;
  switch (static_cast<int>(sixth) % 6) {
    case 0:
      return {v, t, p};
    case 1:
      return {q, v, p};
    case 2:
      return {p, v, t};
    case 3:
      return {p, q, v};
    case 4:
      return {t, p, v};
    default:
      return {v, p, q};
  }
}

}  // namespace

Tensor Grayscale::operator()(const Tensor& x) const {
  WEFT_CHECK(channels == 1 || channels == 3, "Grayscale: channels must be 1 or 3; got {}", channels);
  const Tensor gray = to_image(luma(x, "Grayscale"), x);
  if (channels == 1) return gray;
  Dims sizes = gray.sizes();
  sizes[sizes.size() - 3] = 3;
  return gray.expand(sizes).contiguous();
}

Tensor adjust_brightness(const Tensor& x, double factor) {
  detail::check_image(x, "adjust_brightness");
  check_factor(factor, "adjust_brightness");
  const Tensor values = x.is_floating_point() ? x : x.to(DType::f32);
  return to_image(values.mul(factor).clamp_(0, detail::max_value(x.dtype())), x);
}

Tensor adjust_contrast(const Tensor& x, double factor) {
  check_factor(factor, "adjust_contrast");
  Tensor gray = luma(x, "adjust_contrast");
  if (!x.is_floating_point() && x.size(-3) == 3) gray = gray.floor();
  return blend(x, gray.mean({.dim = {-3, -2, -1}, .keepdim = true}), factor);
}

Tensor adjust_saturation(const Tensor& x, double factor) {
  check_factor(factor, "adjust_saturation");
  const Tensor gray = luma(x, "adjust_saturation");
  if (x.size(-3) == 1) return x;
  return blend(x, x.is_floating_point() ? gray : gray.floor(), factor);
}

Tensor adjust_hue(const Tensor& x, double factor) {
  WEFT_CHECK(factor >= -0.5 && factor <= 0.5, "adjust_hue: the factor must lie in [-0.5, 0.5]; got {}", factor);
  detail::check_image(x, "adjust_hue");
  WEFT_CHECK(x.dim() > 2 && (x.size(-3) == 1 || x.size(-3) == 3), "adjust_hue: expects 1 or 3 channels, got {}", x);
  if (x.size(-3) == 1) return x;
  const int64_t n = x.size(-2) * x.size(-1);
  const Tensor values = ConvertDtype{DType::f32}(x).contiguous(),
               out = empty(x.sizes(), {.dtype = DType::f32, .device = DeviceType::cpu});
  const float* from = values.data<float>();
  float* to = out.data<float>();
  for (int64_t image = 0; image < x.numel() / (3 * n); ++image, from += 3 * n, to += 3 * n)
    for (int64_t i = 0; i < n; ++i) {
      const auto rgb = turn_hue(from[i], from[n + i], from[2 * n + i], static_cast<float>(factor));
      for (int64_t c = 0; c < 3; ++c) to[c * n + i] = rgb[static_cast<size_t>(c)];
    }
  return ConvertDtype{x.dtype()}(out);
}

Tensor ColorJitter::operator()(const Tensor& x) const {
  WEFT_CHECK(brightness >= 0 && contrast >= 0 && saturation >= 0 && hue >= 0 && hue <= 0.5,
             "ColorJitter: strengths must not be negative, and hue at most 0.5");
  std::array<int, 4> order{0, 1, 2, 3};
  for (int i = 3; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(detail::draw_below(i + 1))]);
  const auto factor = [](double strength) { return detail::draw({std::max(0.0, 1 - strength), 1 + strength}); };
  // Drawn in one order whatever the order of use.
  const double b = factor(brightness), c = factor(contrast), s = factor(saturation), h = detail::draw({-hue, hue});
  Tensor out = x;
  for (const int what : order) {
    if (what == 0 && brightness > 0) out = adjust_brightness(out, b);
    if (what == 1 && contrast > 0) out = adjust_contrast(out, c);
    if (what == 2 && saturation > 0) out = adjust_saturation(out, s);
    if (what == 3 && hue > 0) out = adjust_hue(out, h);
  }
  return out;
}

Tensor gaussian_blur(const Tensor& x, Size kernel_size, double sigma) {
  detail::check_image(x, "gaussian_blur");
  WEFT_CHECK(sigma > 0, "gaussian_blur: sigma must be positive; got {}", sigma);
  for (const int64_t k : {kernel_size.height, kernel_size.width})
    WEFT_CHECK(k > 0 && k % 2 == 1, "gaussian_blur: the size of the kernel must be odd; got {}", k);
  WEFT_CHECK(kernel_size.height / 2 < x.size(-2) && kernel_size.width / 2 < x.size(-1),
             "gaussian_blur: a kernel of {} x {} is too large for {}", kernel_size.height, kernel_size.width, x);
  const auto weights = [&](int64_t k) {
    const double half = static_cast<double>(k - 1) * 0.5;
    const Tensor at = linspace(-half, half, k, {.device = x.device()}).div(sigma);
    const Tensor pdf = at.mul(at).mul(-0.5).exp();
    return pdf.div(pdf.sum());
  };
  const Tensor kernel = weights(kernel_size.height).unsqueeze(1).mul(weights(kernel_size.width));
  const Tensor planes = x.to(DType::f32).reshape({-1, 1, x.size(-2), x.size(-1)});
  const Tensor padded =
      pad(planes, {kernel_size.width / 2, kernel_size.width / 2, kernel_size.height / 2, kernel_size.height / 2},
          "reflect");
  const Tensor out = conv2d(padded, kernel.unsqueeze(0).unsqueeze(0)).view(x.sizes());
  return (x.is_floating_point() ? out : round(out)).to(x.dtype());
}
Tensor GaussianBlur::operator()(const Tensor& x) const { return gaussian_blur(x, kernel_size, detail::draw(sigma)); }

}  // namespace weft::data::transforms
