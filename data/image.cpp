#include "data/image.h"

#include <algorithm>

#include "core/error.h"
#include "data/formats/file.h"

namespace weft::data {
namespace {

uint8_t luma(const uint8_t* p) {  // ITU-R 601, in PIL's fixed point
  return static_cast<uint8_t>((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

/// Interleaved pixels of `from` channels as planes of `to` channels.
Tensor to_planes(const Tensor& pixels, int64_t to) {
  const int64_t height = pixels.size(0), width = pixels.size(1), from = pixels.size(2), n = height * width;
  if (to == 0) to = from;
  Tensor out = empty({to, height, width}, {.dtype = DType::u8, .device = DeviceType::cpu});
  const uint8_t* p = pixels.data<uint8_t>();
  uint8_t* planes = out.data<uint8_t>();
  const bool color = from >= 3, alpha = from % 2 == 0, wants_color = to >= 3, wants_alpha = to % 2 == 0;
  for (int64_t i = 0; i < n; ++i, p += from) {
    if (wants_color)
      for (int c = 0; c < 3; ++c) planes[c * n + i] = p[color ? c : 0];
    else
      planes[i] = color ? luma(p) : p[0];
    if (wants_alpha) planes[(to - 1) * n + i] = alpha ? p[from - 1] : 255;
  }
  return out;
}

}  // namespace

void detail::check_image_size(int64_t width, int64_t height, int64_t max_pixels, const std::string& name) {
  WEFT_CHECK_FILE(width > 0 && height > 0, "decode_image: '{}' is damaged: it says that it is {} x {} pixels", name,
                  width, height);
  WEFT_CHECK_FILE(width <= max_pixels / height,
                  "decode_image: '{}' says that it is {} x {} pixels; the limit is {} (max_pixels)", name, width,
                  height, max_pixels);
}

Tensor decode_image(std::span<const uint8_t> bytes, const ImageOptions& options, const std::string& name) {
  static constexpr uint8_t png[] = {0x89, 'P', 'N', 'G', 0x0d, 0x0a, 0x1a, 0x0a}, jpeg[] = {0xff, 0xd8, 0xff};
  const auto begins = [&](std::span<const uint8_t> with) {
    return bytes.size() >= with.size() && std::equal(with.begin(), with.end(), bytes.begin());
  };
  Tensor pixels;
  if (begins(png))
    pixels = detail::decode_png(bytes, options.max_pixels, name);
  else if (begins(jpeg))
    pixels = detail::decode_jpeg(bytes, options.max_pixels, name);
  else
    WEFT_CHECK_FILE(false, "decode_image: '{}' is neither a PNG nor a JPEG file", name);
  return to_planes(pixels, static_cast<int64_t>(options.mode));
}

Tensor read_image(const std::string& path, const ImageOptions& options) {
  const formats::InputFile file(path);
  WEFT_CHECK_FILE(file.size() <= uint64_t{1} << 31, "read_image: '{}' has {} bytes; no image is that large", path,
                  file.size());
  const std::string content = file.read_text(0, file.size());
  return decode_image({reinterpret_cast<const uint8_t*>(content.data()), content.size()}, options, path);
}

}  // namespace weft::data
