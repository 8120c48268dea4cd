#include "data/idx.h"
#include "tests/fuzz/fuzz.h"

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return test::fuzz_reader(data, size, [](const formats::InputFile& file) { load_idx(file.path()); });
}
