#include "data/transforms.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/philox.h"
#include "core/ops/pointwise_api.h"
#include "core/random.h"

namespace weft::data::transforms {

void detail::check_image(const Tensor& x, const char* what) {
  WEFT_CHECK(x.defined() && x.dim() >= 2 && x.numel() > 0, "{}: expects an image [.., channels, height, width], got {}",
             what, x.defined() ? weft::detail::format("{}", {x}) : std::string("an undefined tensor"));
}

double detail::draw() {
  const Generator::State s = default_generator().take(1);
  const rng::Words words = rng::philox(s.seed, s.offset);
  return rng::unit(rng::u64{words.w[0]} << 32 | words.w[1]);
}
double detail::draw(Range range) {
  WEFT_CHECK(range.low <= range.high, "transforms: a range must not fall; got {} to {}", range.low, range.high);
  return range.low + (range.high - range.low) * draw();
}
int64_t detail::draw_below(int64_t n) { return std::min(n - 1, static_cast<int64_t>(draw() * static_cast<double>(n))); }

double detail::max_value(DType t) {
  switch (t) {
    case DType::u8:
      return 255;
    case DType::i8:
      return 127;
    case DType::i16:
      return 32767;
    case DType::i32:
      return 2147483647.0;
    case DType::i64:
      return 9223372036854775807.0;
    default:
      return 1;
  }
}

Tensor Compose::operator()(const Tensor& x) const {
  Tensor out = x;
  for (const auto& t : all_) out = t(out);
  return out;
}

Tensor ToTensor::operator()(const Tensor& x) const {
  detail::check_image(x, "ToTensor");
  const Tensor image = x.dim() == 2 ? x.unsqueeze(0) : x;
  return x.dtype() == DType::u8 ? image.to(DType::f32).div_(255.0) : image;
}

Tensor ConvertDtype::operator()(const Tensor& x) const {
  detail::check_image(x, "ConvertDtype");
  WEFT_CHECK_TYPE(x.dtype() != DType::bool_ && dtype != DType::bool_, "ConvertDtype: bool has no range of values");
  if (x.dtype() == dtype) return x;
  const bool from_float = x.is_floating_point(), to_float = is_floating(dtype);
  if (from_float && to_float) return x.to(dtype);
  if (to_float) return x.to(dtype).mul_(1.0 / detail::max_value(x.dtype()));
  if (from_float) {
    WEFT_CHECK_TYPE(itemsize(dtype) < 4 || (x.dtype() == DType::f64 && dtype == DType::i32),
                    "ConvertDtype: {} does not hold the values of {} exactly", x.dtype(), dtype);
    return x.mul(detail::max_value(dtype) + 1 - 1e-3).to(dtype);
  }
  const auto bits = [](DType t) { return static_cast<int>(8 * itemsize(t)) - (t == DType::u8 ? 0 : 1); };
  const int by = bits(dtype) - bits(x.dtype());
  const Tensor wide = x.to(DType::i64);
  if (by >= 0) return wide.mul(int64_t{1} << by).to(dtype);
  return weft::floor_divide(wide, Tensor::wrap(int64_t{1} << -by)).to(dtype);
}

Normalize::Normalize(std::vector<double> mean, std::vector<double> std) : mean_(std::move(mean)), std_(std::move(std)) {
  WEFT_CHECK(!mean_.empty() && !std_.empty(), "Normalize: needs a mean and a std");
  for (const double s : std_) WEFT_CHECK(s != 0, "Normalize: std must not be 0");
}
Tensor Normalize::operator()(const Tensor& x) const {
  detail::check_image(x, "Normalize");
  WEFT_CHECK_TYPE(x.is_floating_point(), "Normalize: needs a floating image, got {}; use ToTensor first", x);
  const int64_t channels = x.dim() > 2 ? x.size(-3) : 1;
  const auto per_channel = [&](const std::vector<double>& values, const char* name) {
    const auto n = static_cast<int64_t>(values.size());
    WEFT_CHECK(n == 1 || n == channels, "Normalize: {} has {} values, the image {} channels", name, n, channels);
    return tensor(values, {.dtype = x.dtype(), .device = x.device()}).view(x.dim() > 2 ? Dims{n, 1, 1} : Dims{1, 1});
  };
  return x.sub(per_channel(mean_, "mean")).div_(per_channel(std_, "std"));
}

}  // namespace weft::data::transforms
