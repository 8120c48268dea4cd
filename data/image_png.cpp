#include <cstring>
#include <vector>

#include "core/error.h"
#include "data/formats/file.h"
#include "data/image.h"

#ifdef WEFT_PNG
#include <png.h>
#endif

namespace weft::data {

#ifdef WEFT_PNG
namespace {

/// libpng's simplified interface: its long jumps stay inside the library.
class Image {
 public:
  Image() {
    std::memset(&png, 0, sizeof(png));
    png.version = PNG_IMAGE_VERSION;
  }
  ~Image() { png_image_free(&png); }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  png_image png;
};

}  // namespace

bool reads_png() { return true; }

Tensor detail::decode_png(std::span<const uint8_t> bytes, int64_t max_pixels, const std::string& name) {
  Image image;
  const auto check = [&](bool ok) {
    WEFT_CHECK_FILE(ok && !PNG_IMAGE_FAILED(image.png), "decode_image: '{}' is damaged: {}", name, image.png.message);
  };
  check(png_image_begin_read_from_memory(&image.png, bytes.data(), bytes.size()) != 0);
  check_image_size(image.png.width, image.png.height, max_pixels, name);
  // 8 bits a channel, as the file means them: no gamma is applied to 16 bits, palettes are looked up.
  image.png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  image.png.format &= PNG_FORMAT_FLAG_COLOR | PNG_FORMAT_FLAG_ALPHA;
  const auto channels = static_cast<int64_t>(PNG_IMAGE_SAMPLE_CHANNELS(image.png.format));
  Tensor out = empty({image.png.height, image.png.width, channels}, {.dtype = DType::u8, .device = DeviceType::cpu});
  check(png_image_finish_read(&image.png, nullptr, out.data_ptr(),
                              static_cast<png_int_32>(image.png.width * static_cast<uint64_t>(channels)),
                              nullptr) != 0);
  return out;
}

void write_png(const Tensor& image, const std::string& path) {
  WEFT_CHECK(image.defined() && image.dim() == 3 && image.dtype() == DType::u8 && image.size(0) >= 1 &&
                 image.size(0) <= 4 && image.numel() > 0,
             "write_png: expects u8 [1 to 4, height, width], got {}", image);
  static constexpr png_uint_32 formats[] = {PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB, PNG_FORMAT_RGBA};
  Image png;
  png.png.width = static_cast<png_uint_32>(image.size(2));
  png.png.height = static_cast<png_uint_32>(image.size(1));
  png.png.format = formats[image.size(0) - 1];
  const Tensor pixels = image.cpu().permute({1, 2, 0}).contiguous();
  png_alloc_size_t size = 0;
  std::vector<char> content;
  bool ok = png_image_write_to_memory(&png.png, nullptr, &size, 0, pixels.data_ptr(), 0, nullptr) != 0;
  if (ok) {
    content.resize(size);
    ok = png_image_write_to_memory(&png.png, content.data(), &size, 0, pixels.data_ptr(), 0, nullptr) != 0;
  }
  WEFT_CHECK_FILE(ok, "write_png: cannot encode '{}': {}", path, png.png.message);
  formats::AtomicFile file(path);
  file.write(content.data(), size);
  file.commit();
}

#else

bool reads_png() { return false; }

Tensor detail::decode_png(std::span<const uint8_t>, int64_t, const std::string& name) {
  WEFT_FAIL("decode_image: '{}' is a PNG file, and weft was built without libpng; install libpng-dev and build again",
            name);
}
void write_png(const Tensor&, const std::string& path) {
  WEFT_FAIL("write_png: cannot write '{}': weft was built without libpng; install libpng-dev and build again", path);
}

#endif

}  // namespace weft::data
