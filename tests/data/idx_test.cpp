// IDX files, the format of MNIST.
#include "data/idx.h"

#include <zlib.h>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"

using namespace weft;
using namespace weft::test;

namespace {

std::string idx(char type, std::initializer_list<unsigned char> sizes, const std::string& values) {
  std::string out{'\0', '\0', type, static_cast<char>(sizes.size())};
  for (unsigned char n : sizes) out += std::string(3, '\0') + static_cast<char>(n);
  return out + values;
}

void write_gzip(const std::string& path, const std::string& content) {
  gzFile file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, content.data(), static_cast<unsigned>(content.size())) == static_cast<int>(content.size()));
  gzclose(file);
}

}  // namespace

TEST_CASE("idx: bytes, plain and compressed") {
  const TemporaryFolder folder;
  const std::string content = idx(0x08, {2, 3}, "abcdef");
  write_all(folder.file("plain"), content);
  write_gzip(folder.file("packed"), content);
  for (const char* name : {"plain", "packed"}) {
    const Tensor t = load_idx(folder.file(name));
    CHECK(t.dtype() == DType::u8);
    CHECK(t.sizes() == Dims{2, 3});
    CHECK(std::string(t.data<char>(), 6) == "abcdef");
  }
}

TEST_CASE("idx: numbers are big-endian") {
  const TemporaryFolder folder;
  const auto load = [&](const std::string& content) {
    write_all(folder.file("x"), content);
    return load_idx(folder.file("x"));
  };
  CHECK(load(idx(0x0b, {1}, {'\x01', '\x02'})).item<int64_t>() == 0x102);
  CHECK(load(idx(0x0c, {1}, {'\xff', '\xff', '\xff', '\xfe'})).item<int64_t>() == -2);
  CHECK(load(idx(0x0d, {1}, {'\x3f', '\xc0', '\0', '\0'})).item<double>() == 1.5);
  CHECK(load(idx(0x0e, {1}, {'\xc0', '\0', '\0', '\0', '\0', '\0', '\0', '\0'})).item<double>() == -2.0);
  CHECK(load(idx(0x09, {}, "\xfd")).item<int64_t>() == -3);
  CHECK(load(idx(0x08, {3, 0}, "")).numel() == 0);
}

TEST_CASE("idx: damaged files are named errors") {
  const TemporaryFolder folder;
  const std::string whole = idx(0x08, {2, 3}, "abcdef");
  const auto refusal = [&](const std::string& content) {
    write_all(folder.file("x"), content);
    return error_of([&] { load_idx(folder.file("x")); });
  };
  CHECK(refusal("").find("is not an IDX file") != std::string::npos);
  CHECK(refusal("PK\3\4 and so on").find("is not an IDX file") != std::string::npos);
  CHECK(refusal(whole.substr(0, 9)).find("is truncated in its header") != std::string::npos);
  CHECK(refusal(whole.substr(0, 15)).find("is truncated") != std::string::npos);
  CHECK(refusal(whole + "x").find("goes on behind the 6 bytes") != std::string::npos);
  CHECK(refusal(std::string("\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", 12)).find("is truncated") !=
        std::string::npos);
  CHECK(error_of([&] { load_idx(folder.file("nowhere")); }).find("nowhere") != std::string::npos);

  write_gzip(folder.file("packed"), whole);
  const std::string packed = read_all(folder.file("packed"));
  for (size_t n = 2; n < packed.size(); ++n) CHECK(refusal(packed.substr(0, n)).find("load_idx") != std::string::npos);
  for (size_t i = packed.size() - 8; i < packed.size(); ++i) {  // checksum and length
    std::string wrong = packed;
    wrong[i] = static_cast<char>(wrong[i] ^ 1);
    CHECK(refusal(wrong).find("is damaged") != std::string::npos);
  }
}
