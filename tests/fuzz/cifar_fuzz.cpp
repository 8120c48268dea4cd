#include "data/vision.h"
#include "tests/fuzz/fuzz.h"

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return test::fuzz_reader(data, size, [](const formats::InputFile& file) { data::load_cifar(file.path(), 2, 100); });
}
