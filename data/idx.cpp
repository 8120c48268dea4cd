#include "data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/error.h"
#include "data/formats/file.h"

namespace weft {
namespace {

using formats::InputFile;

constexpr uint64_t kChunk = 1 << 16;
constexpr uint64_t kLargestRatio = 1032;  // deflate's best: 258 bytes from 2 bits

/// The bytes of a file in order, decompressed where it is gzip.
class Reader {
 public:
  explicit Reader(const std::string& path) : file_(path) {
    std::array<unsigned char, 2> magic{};
    if (file_.size() >= 2) file_.read(0, magic.data(), 2);
    if (magic[0] != 0x1f || magic[1] != 0x8b) return;
    WEFT_ASSERT(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK, "load_idx: zlib has no memory");
    compressed_ = true;
  }
  ~Reader() {
    if (compressed_) inflateEnd(&stream_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// No file of this size holds more.
  uint64_t limit() const { return compressed_ ? file_.size() * kLargestRatio : file_.size(); }

  /// Up to `n` bytes; fewer only at the end.
  uint64_t read(void* out, uint64_t n) {
    if (!compressed_) {
      n = std::min(n, file_.size() - position_);
      file_.read(position_, out, n);
      position_ += n;
      return n;
    }
    uint64_t done = 0;
    while (done < n && !ended_) {
      const uint64_t space = std::min<uint64_t>(n - done, 1 << 30);
      stream_.next_out = static_cast<Bytef*>(out) + done;
      stream_.avail_out = static_cast<uInt>(space);
      step();
      done += space - stream_.avail_out;
    }
    return done;
  }

  /// Whether all was read; checks the sum at the end of a compressed file.
  bool at_end() {
    char more;
    return read(&more, 1) == 0;
  }

 private:
  void step() {
    if (stream_.avail_in == 0) {
      const uint64_t got = std::min(kChunk, file_.size() - position_);
      WEFT_CHECK_FILE(got > 0, "load_idx: '{}' is truncated: its compressed data has no end", file_.path());
      file_.read(position_, input_.data(), got);
      position_ += got;
      stream_.next_in = input_.data();
      stream_.avail_in = static_cast<uInt>(got);
    }
    const int status = inflate(&stream_, Z_NO_FLUSH);
    ended_ = status == Z_STREAM_END;
    WEFT_CHECK_FILE(ended_ || status == Z_OK, "load_idx: '{}' is damaged: its compressed data cannot be read",
                    file_.path());
  }

  InputFile file_;
  uint64_t position_ = 0;
  bool compressed_ = false, ended_ = false;
  z_stream stream_{};
  std::array<unsigned char, kChunk> input_;
};

std::optional<DType> dtype_of(unsigned char code) {
  switch (code) {
    case 0x08:
      return DType::u8;
    case 0x09:
      return DType::i8;
    case 0x0b:
      return DType::i16;
    case 0x0c:
      return DType::i32;
    case 0x0d:
      return DType::f32;
    case 0x0e:
      return DType::f64;
    default:
      return std::nullopt;
  }
}

}  // namespace

Tensor load_idx(const std::string& path) {
  Reader reader(path);
  std::array<unsigned char, 4> head{};
  const uint64_t got = reader.read(head.data(), head.size());
  const std::optional<DType> dtype = dtype_of(head[2]);
  WEFT_CHECK_FILE(got == head.size() && head[0] == 0 && head[1] == 0 && dtype && head[3] <= kMaxDims,
                  "load_idx: '{}' is not an IDX file", path);
  Dims sizes;
  uint64_t bytes = itemsize(*dtype);
  for (unsigned d = 0; d < head[3]; ++d) {
    std::array<unsigned char, 4> size{};
    WEFT_CHECK_FILE(reader.read(size.data(), 4) == 4, "load_idx: '{}' is truncated in its header", path);
    const uint64_t n = uint64_t{size[0]} << 24 | size[1] << 16 | size[2] << 8 | size[3];
    sizes.push_back(static_cast<int64_t>(n));
    WEFT_CHECK_FILE(n == 0 || bytes <= reader.limit() / n,
                    "load_idx: '{}' is truncated: its header asks for more bytes than it holds", path);
    bytes *= n;
  }
  Tensor out = empty(sizes, {.dtype = *dtype, .device = DeviceType::cpu});
  const uint64_t read = reader.read(out.data_ptr(), bytes);
  WEFT_CHECK_FILE(read == bytes, "load_idx: '{}' is truncated: {} bytes of values expected, {} found", path, bytes,
                  read);
  WEFT_CHECK_FILE(reader.at_end(), "load_idx: '{}' goes on behind the {} bytes of values its header names", path,
                  bytes);
  formats::swap_bytes(out.data_ptr(), static_cast<uint64_t>(out.numel()), static_cast<unsigned>(itemsize(*dtype)));
  return out;
}

}  // namespace weft
