#include "data/image.h"
#include "tests/fuzz/fuzz.h"

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    data::decode_image({data, size}, {.mode = data::ImageMode::gray_alpha, .max_pixels = 1 << 16});
  } catch (const FileError&) {
  }
  return 0;
}
