#include "data/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/error.h"
#include "data/dataset.h"

namespace weft::data {
namespace {

int64_t bytes_of(TokenType t) {
  switch (t) {
    case TokenType::u8:
      return 1;
    case TokenType::u16:
      return 2;
    case TokenType::i64:
      return 8;
    default:
      return 4;
  }
}

template <class T>
void widen(const unsigned char* from, int64_t n, int64_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[i] = static_cast<int64_t>(value);
  }
}

/// The whole file, readable, until the last owner is gone.
std::shared_ptr<const unsigned char> map_file(const std::string& path, uint64_t& size) {
  const auto reason = [](int error) { return std::generic_category().message(error); };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  WEFT_CHECK_FILE(fd >= 0, "TokenFile: cannot open '{}': {}", path, reason(errno));
  struct stat info {};
  void* mapped = nullptr;
  int error = 0;
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  size = static_cast<uint64_t>(info.st_size);
  if (regular && size > 0) {
    mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    error = errno;
  }
  ::close(fd);
  WEFT_CHECK_FILE(regular, "TokenFile: '{}' is not a regular file", path);
  WEFT_CHECK_FILE(size > 0, "TokenFile: '{}' is empty", path);
  WEFT_CHECK_FILE(mapped != MAP_FAILED, "TokenFile: cannot map '{}': {}", path, reason(error));
  return {static_cast<const unsigned char*>(mapped),
          [size](const unsigned char* p) { ::munmap(const_cast<unsigned char*>(p), size); }};
}

}  // namespace

TokenFile::TokenFile(const std::string& path, const TokenFileOptions& options) : options_(options) {
  if (options_.stride == 0) options_.stride = options_.block;
  WEFT_CHECK(options_.block >= 1 && options_.stride >= 1 && options_.offset >= 0,
             "TokenFile: block and stride must be positive and offset not negative; got {}, {} and {}", options_.block,
             options_.stride, options_.offset);
  uint64_t size = 0;
  std::shared_ptr<const unsigned char> all = map_file(path, size);
  const int64_t each = bytes_of(options_.dtype), bytes = static_cast<int64_t>(size) - options_.offset;
  WEFT_CHECK_FILE(
      bytes >= 0 && bytes % each == 0,
      "TokenFile: '{}' has {} bytes behind its header of {}, no multiple of the {} of a token; is the dtype right?",
      path, bytes, options_.offset, each);
  tokens_ = bytes / each;
  WEFT_CHECK_FILE(tokens_ - 1 >= options_.block,
                  "TokenFile: '{}' has {} tokens; a window of {} needs one more than that", path, tokens_,
                  options_.block);
  windows_ = (tokens_ - 1 - options_.block) / options_.stride + 1;
  data_ = {all, all.get() + options_.offset};
}

int64_t TokenFile::token(int64_t index) const {
  WEFT_CHECK_INDEX(index >= 0 && index < tokens_, "TokenFile: token {} is out of range; there are {}", index, tokens_);
  int64_t out = 0;
  copy(index, 1, &out);
  return out;
}

void TokenFile::copy(int64_t first, int64_t n, int64_t* out) const {
  const unsigned char* from = data_.get() + first * bytes_of(options_.dtype);
  switch (options_.dtype) {
    case TokenType::u8:
      return widen<uint8_t>(from, n, out);
    case TokenType::u16:
      return widen<uint16_t>(from, n, out);
    case TokenType::u32:
      return widen<uint32_t>(from, n, out);
    case TokenType::i32:
      return widen<int32_t>(from, n, out);
    case TokenType::i64:
      return widen<int64_t>(from, n, out);
  }
}

std::pair<Tensor, Tensor> TokenFile::get(int64_t index) const {
  const auto [x, y] = get_batch({&index, 1});
  return {x.select(0, 0), y.select(0, 0)};
}

std::pair<Tensor, Tensor> TokenFile::get_batch(std::span<const int64_t> indices) const {
  const int64_t block = options_.block;
  const Dims sizes{static_cast<int64_t>(indices.size()), block};
  Tensor x = empty(sizes, {.dtype = DType::i64, .device = DeviceType::cpu}),
         y = empty(sizes, {.dtype = DType::i64, .device = DeviceType::cpu});
  int64_t *to_x = x.data<int64_t>(), *to_y = y.data<int64_t>();
  for (const int64_t index : indices) {
    const int64_t first = detail::checked_index(index, windows_, "TokenFile") * options_.stride;
    copy(first, block, to_x);
    std::memcpy(to_y, to_x + 1, static_cast<size_t>(block - 1) * sizeof(int64_t));
    copy(first + block, 1, to_y + block - 1);
    to_x += block;
    to_y += block;
  }
  return {x, y};
}

}  // namespace weft::data
