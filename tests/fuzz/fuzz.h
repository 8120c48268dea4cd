#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "data/formats/file.h"
#include "tests/data/memory_file.h"

namespace weft::test {

/// One run of a libFuzzer target: `read` may load the bytes or throw a FileError; anything else is a finding.
template <class Read>
int fuzz_reader(const uint8_t* data, size_t size, Read read) {
  static const MemoryFile file;
  if (!file.set({reinterpret_cast<const char*>(data), size})) return -1;
  try {
    read(formats::InputFile(file.path()));
  } catch (const FileError&) {
  }
  return 0;
}

}  // namespace weft::test
