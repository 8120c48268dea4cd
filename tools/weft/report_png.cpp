#include <zlib.h>

#include <algorithm>

#include "core/error.h"
#include "tools/weft/report.h"

namespace weft::demo::detail {
namespace {

void put_be32(std::string& out, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(v >> shift & 0xff);
}

void put_chunk(std::string& out, std::string_view type, std::string_view content) {
  put_be32(out, static_cast<uint32_t>(content.size()));
  std::string body(type);
  body += content;
  out += body;
  put_be32(out, static_cast<uint32_t>(
                    crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
}

std::string base64(std::string_view bytes) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kLetters[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace

std::string png_url(int size, const std::vector<float>& pixels) {
  std::string rows;  // each row: filter 0, then its bytes
  for (int y = 0; y < size; ++y) {
    rows += '\0';
    for (int x = 0; x < size; ++x)
      rows += static_cast<char>(static_cast<int>(
          std::clamp(pixels[static_cast<size_t>(y) * static_cast<size_t>(size) + static_cast<size_t>(x)], 0.0F, 1.0F) *
              255.0F +
          0.5F));
  }
  uLongf packed = compressBound(rows.size());
  std::string data(packed, '\0');
  WEFT_ASSERT(compress2(reinterpret_cast<Bytef*>(data.data()), &packed, reinterpret_cast<const Bytef*>(rows.data()),
                        rows.size(), 9) == Z_OK,
              "report: zlib failed");
  data.resize(packed);
  std::string head;
  put_be32(head, static_cast<uint32_t>(size));
  put_be32(head, static_cast<uint32_t>(size));
  head += std::string("\x08\0\0\0\0", 5);  // 8 bits, grey, deflate, no filter method, not interlaced
  std::string png = "\x89PNG\r\n\x1a\n";
  put_chunk(png, "IHDR", head);
  put_chunk(png, "IDAT", data);
  put_chunk(png, "IEND", "");
  return "data:image/png;base64," + base64(png);
}

}  // namespace weft::demo::detail
