#pragma once
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/value.h"
#include "tests/folder.h"

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
  Tensor t = empty(sizes, {.dtype = dtype});
  auto* bytes = static_cast<uint8_t*>(t.data_ptr());
  for (size_t i = 0; i < t.nbytes(); ++i) bytes[i] = static_cast<uint8_t>(dtype == DType::bool_ ? i % 2 : i % 120 + 1);
  return t;
}

/// Same dtype, shape and bytes.
inline bool same_content(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || !(a.sizes() == b.sizes())) return false;
  const Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.nbytes() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
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
