#pragma once
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/value.h"

namespace weft::test {

/// A folder of its own for the files of one test; gone afterwards.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weft_test_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  /// Everything in the folder, temporary files included.
  size_t count() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::string path_;
};

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
