#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "data/transforms.h"

// Separable resampling: the width first, then the height, as PIL and PyTorch do.
namespace weft::data::transforms {
namespace {

/// For each place of the output the first pixel of the input that counts, and the weights from there on.
struct Weights {
  int64_t taps = 0;
  std::vector<int64_t> first, count;
  std::vector<double> weight;  ///< [out, taps]
};

Weights make_weights(int64_t in, int64_t out, const Resize::Options& o) {
  Weights w;
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  w.first.resize(static_cast<size_t>(out));
  w.count.resize(static_cast<size_t>(out));
  const bool nearest = o.interpolation == Interpolation::nearest, wide = o.antialias && !nearest;
  // The filter is a triangle; antialiasing widens it to what a pixel of the output covers.
  const double filter = wide ? std::max(scale, 1.0) : 1.0;
  w.taps = nearest ? 1 : wide ? 2 * static_cast<int64_t>(std::ceil(filter)) + 1 : 2;
  w.weight.resize(static_cast<size_t>(out * w.taps));
  for (int64_t i = 0; i < out; ++i) {
    double* weight = &w.weight[static_cast<size_t>(i * w.taps)];
    int64_t first = 0, count = 1;
    if (nearest) {
      first = std::min(static_cast<int64_t>(std::floor(static_cast<float>(i) * static_cast<float>(scale))), in - 1);
      weight[0] = 1;
    } else if (!wide) {
      const double at = std::max(0.0, (static_cast<double>(i) + 0.5) * scale - 0.5);
      first = std::min(static_cast<int64_t>(at), in - 1);
      count = std::min<int64_t>(2, in - first);
      const double part = at - static_cast<double>(first);
      weight[0] = count == 2 ? 1 - part : 1;
      weight[1] = count == 2 ? part : 0;
    } else {
      const double center = (static_cast<double>(i) + 0.5) * scale;
      first = std::max<int64_t>(0, static_cast<int64_t>(center - filter + 0.5));
      count = std::min(in, static_cast<int64_t>(center + filter + 0.5)) - first;
      count = std::clamp<int64_t>(count, 0, w.taps);
      double sum = 0;
      for (int64_t k = 0; k < count; ++k) {
        const double distance = std::abs((static_cast<double>(k + first) - center + 0.5) / filter);
        sum += weight[k] = distance < 1 ? 1 - distance : 0;
      }
      for (int64_t k = 0; k < count && sum != 0; ++k) weight[k] /= sum;
    }
    w.first[static_cast<size_t>(i)] = first;
    w.count[static_cast<size_t>(i)] = count;
  }
  return w;
}

/// u8 is resampled with weights of 15 bits and rounded after each direction; floats in their own type.
struct Fixed {
  static constexpr bool fixed = true;
  using Weight = int32_t;
  int bits = 0;
  explicit Fixed(const Weights& w) {
    const double largest = *std::max_element(w.weight.begin(), w.weight.end());
    while (bits < 22 && static_cast<int64_t>(0.5 + largest * static_cast<double>(int64_t{1} << (bits + 1))) < 1 << 15)
      ++bits;
  }
  Weight operator()(double w) const { return static_cast<int32_t>(0.5 + w * static_cast<double>(int64_t{1} << bits)); }
};
template <class T>
struct Real {
  static constexpr bool fixed = false;
  using Weight = T;
  explicit Real(const Weights&) {}
  Weight operator()(double w) const { return static_cast<T>(w); }
};

/// [outer, in, inner] -> [outer, out, inner].
template <class T, class Kind>
void resample(const T* from, T* to, int64_t outer, int64_t in, int64_t out, int64_t inner, const Weights& w) {
  const Kind kind(w);
  std::vector<typename Kind::Weight> weights(w.weight.size());
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = kind(w.weight[i]);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < out; ++i) {
      const auto* weight = &weights[static_cast<size_t>(i * w.taps)];
      const T* base = from + (o * in + w.first[static_cast<size_t>(i)]) * inner;
      const int64_t count = w.count[static_cast<size_t>(i)];
      for (int64_t j = 0; j < inner; ++j) {
        if constexpr (Kind::fixed) {
          int64_t sum = int64_t{1} << (kind.bits - 1);
          for (int64_t k = 0; k < count; ++k) sum += int64_t{base[k * inner + j]} * weight[k];
          *to++ = static_cast<T>(std::clamp<int64_t>(sum >> kind.bits, 0, 255));
        } else {
          T sum = 0;
          for (int64_t k = 0; k < count; ++k) sum += base[k * inner + j] * weight[k];
          *to++ = sum;
        }
      }
    }
}

template <class T, class Kind>
Tensor resize_as(const Tensor& x, int64_t height, int64_t width, const Resize::Options& o) {
  const int64_t h = x.size(-2), w = x.size(-1), planes = x.numel() / (h * w);
  Dims sizes = x.sizes();
  Tensor now = x;
  if (w != width) {
    sizes[sizes.size() - 1] = width;
    const Tensor next = empty(sizes, {.dtype = x.dtype(), .device = DeviceType::cpu});
    resample<T, Kind>(now.data<T>(), next.data<T>(), planes * h, w, width, 1, make_weights(w, width, o));
    now = next;
  }
  if (h != height) {
    sizes[sizes.size() - 2] = height;
    const Tensor next = empty(sizes, {.dtype = x.dtype(), .device = DeviceType::cpu});
    resample<T, Kind>(now.data<T>(), next.data<T>(), planes, h, height, width, make_weights(h, height, o));
    now = next;
  }
  return now;
}

}  // namespace

Tensor detail::resize(const Tensor& x, int64_t height, int64_t width, const Resize::Options& o) {
  check_image(x, "Resize");
  WEFT_CHECK(height >= 1 && width >= 1, "Resize: the size must be positive; got {} x {}", height, width);
  if (x.size(-2) == height && x.size(-1) == width) return x;
  WEFT_CHECK(x.device().is_cpu(), "Resize: needs an image on the CPU, got {}", x);
  const Tensor image = x.detach().contiguous();
  switch (x.dtype()) {
    case DType::u8:
      return resize_as<uint8_t, Fixed>(image, height, width, o);
    case DType::f32:
      return resize_as<float, Real<float>>(image, height, width, o);
    case DType::f64:
      return resize_as<double, Real<double>>(image, height, width, o);
    default:
      WEFT_CHECK_TYPE(x.is_floating_point(), "Resize: needs u8 or a floating image, got {}", x);
      return resize_as<float, Real<float>>(image.to(DType::f32), height, width, o).to(x.dtype());
  }
}

Resize::Resize(int64_t shorter_side, Options options) : side_(shorter_side), size_(shorter_side), options_(options) {
  WEFT_CHECK(shorter_side >= 1, "Resize: the size must be positive; got {}", shorter_side);
}
Resize::Resize(Size size, Options options) : size_(size), options_(options) {
  WEFT_CHECK(size.height >= 1 && size.width >= 1, "Resize: the size must be positive; got {} x {}", size.height,
             size.width);
}

Tensor Resize::operator()(const Tensor& x) const {
  if (!side_) return detail::resize(x, size_.height, size_.width, options_);
  detail::check_image(x, "Resize");
  const int64_t h = x.size(-2), w = x.size(-1), shorter = std::min(h, w), longer = std::max(h, w);
  const auto other = static_cast<int64_t>(static_cast<double>(*side_ * longer) / static_cast<double>(shorter));
  return h <= w ? detail::resize(x, *side_, other, options_) : detail::resize(x, other, *side_, options_);
}

}  // namespace weft::data::transforms
