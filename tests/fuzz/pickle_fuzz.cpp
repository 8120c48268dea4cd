// The pickle of a .pt file without the zip around it, whose checksum would stop most changes.
#include "data/formats/torch_decode.h"
#include "tests/fuzz/fuzz.h"

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const formats::Pickle pickle({reinterpret_cast<const char*>(data), size}, formats::is_torch_name, "fuzz");
    const auto storage = [](const formats::StorageName& name) {
      WEFT_CHECK_FILE(name.numel < 10000, "storage too large for this test");
      return empty({name.numel}, {.dtype = name.dtype});
    };
    formats::TorchDecoder(pickle, "fuzz", storage).decode().str();
  } catch (const FileError&) {
  }
  return 0;
}
