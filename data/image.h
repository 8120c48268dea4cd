#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/tensor.h"

namespace weft::data {

/// Channels of a decoded image (torchvision.io.ImageReadMode): gray 1, gray_alpha 2, rgb 3, rgb_alpha 4.
enum class ImageMode : uint8_t { unchanged = 0, gray = 1, gray_alpha = 2, rgb = 3, rgb_alpha = 4 };

struct ImageOptions {
  ImageMode mode = ImageMode::unchanged;
  /// A file that says it is larger is refused before any memory is taken for it.
  int64_t max_pixels = int64_t{1} << 28;
};

/// Whether weft was built with libpng, and with libjpeg.
bool reads_png();
bool reads_jpeg();

/// A PNG or JPEG file as u8 [channels, height, width] (torchvision.io.read_image). PNGs of other depths become 8 bits;
/// colour becomes gray as in PIL, CMYK becomes RGB; a missing alpha is 255; EXIF is not looked at. FileError for a file
/// that is damaged, truncated, larger than max_pixels or of another format; weft::Error naming the package when weft
/// was built without the library of the format.
Tensor read_image(const std::string& path, const ImageOptions& options = {});
/// The same of the bytes of a file; `name` stands for it in errors.
Tensor decode_image(std::span<const uint8_t> bytes, const ImageOptions& options = {},
                    const std::string& name = "bytes");
/// Writes u8 [1 to 4, height, width] as PNG (torchvision.io.write_png). FileError when that fails.
void write_png(const Tensor& image, const std::string& path);

namespace detail {
/// u8 [height, width, 1 to 4] as the file has them.
Tensor decode_png(std::span<const uint8_t> bytes, int64_t max_pixels, const std::string& name);
Tensor decode_jpeg(std::span<const uint8_t> bytes, int64_t max_pixels, const std::string& name);
void check_image_size(int64_t width, int64_t height, int64_t max_pixels, const std::string& name);
}  // namespace detail

}  // namespace weft::data
