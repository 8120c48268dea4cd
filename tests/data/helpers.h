#pragma once
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/value.h"
#include "tests/folder.h"
#include "tests/same_bits.h"

namespace weft::test {

inline std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_all(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

/// A tensor whose bytes are 1, 2, 3, ... (bools: 0, 1, 0, ...).
inline Tensor numbered(const Dims& sizes, DType dtype) {
  Tensor t = empty(sizes, {.dtype = dtype, .device = "cpu"});
  auto* bytes = static_cast<uint8_t*>(t.data_ptr());
  for (size_t i = 0; i < t.nbytes(); ++i) bytes[i] = static_cast<uint8_t>(dtype == DType::bool_ ? i % 2 : i % 120 + 1);
  return t.to(default_device());
}

inline constexpr DType kAllDtypes[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i8,
                                       DType::u8,  DType::i16, DType::i32,  DType::i64, DType::bool_};

/// The text of the weft::Error that `run` throws; empty when it throws none.
template <class Run>
std::string error_of(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace weft::test
