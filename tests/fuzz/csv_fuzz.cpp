#include "data/csv.h"
#include "tests/fuzz/fuzz.h"

using namespace weft;

// The first byte chooses the options, the rest is the file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return -1;
  data::CsvOptions o{.header = (data[0] & 1) != 0, .dtype = (data[0] & 2) != 0 ? DType::f32 : DType::i16};
  if ((data[0] & 4) != 0) o.missing = 0;
  return test::fuzz_reader(data + 1, size - 1, [&](const formats::InputFile& file) { data::read_csv(file.path(), o); });
}
