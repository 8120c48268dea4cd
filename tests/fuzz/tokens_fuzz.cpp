#include "data/token_file.h"
#include "tests/fuzz/fuzz.h"

using namespace weft;

// The first byte chooses the options, the rest is the file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return -1;
  const data::TokenFileOptions o{.dtype = static_cast<data::TokenType>(data[0] % 5),
                                 .block = data[0] / 5 % 8 + 1,
                                 .stride = data[0] / 40 % 3,
                                 .offset = data[0] / 120 * 3};
  return test::fuzz_reader(data + 1, size - 1, [&](const formats::InputFile& file) {
    const data::TokenFile tokens(file.path(), o);
    tokens.get(0);
    tokens.get(tokens.size() - 1);
    tokens.token(tokens.tokens() - 1);
  });
}
