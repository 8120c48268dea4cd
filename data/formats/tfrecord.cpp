#include "data/formats/tfrecord.h"

#include "data/formats/bytes.h"

namespace weft::formats {
namespace {

enum Wire : unsigned { kVarint = 0, k64 = 1, kLength = 2, k32 = 5 };

uint64_t tag(int field, Wire wire) { return static_cast<uint64_t>(field) << 3 | wire; }

uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8U; }

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0x82f63b78U & (0U - (crc & 1)));
  }
  return ~crc;
}

std::string tfrecord(std::string_view bytes) {
  std::string out;
  put(out, static_cast<uint64_t>(bytes.size()));
  put(out, masked(crc32c(out)));
  out += bytes;
  put(out, masked(crc32c(bytes)));
  return out;
}

void Protobuf::varint(uint64_t v) {
  for (; v >= 0x80; v >>= 7) out_ += static_cast<char>(v | 0x80);
  out_ += static_cast<char>(v);
}
Protobuf& Protobuf::integer(int field, int64_t v) {
  varint(tag(field, kVarint));
  varint(static_cast<uint64_t>(v));
  return *this;
}
Protobuf& Protobuf::number(int field, double v) {
  varint(tag(field, k64));
  put(out_, v);
  return *this;
}
Protobuf& Protobuf::single(int field, float v) {
  varint(tag(field, k32));
  put(out_, v);
  return *this;
}
Protobuf& Protobuf::text(int field, std::string_view v) {
  varint(tag(field, kLength));
  varint(v.size());
  out_ += v;
  return *this;
}
Protobuf& Protobuf::numbers(int field, std::span<const double> v) {
  varint(tag(field, kLength));
  varint(v.size_bytes());
  for (const double x : v) put(out_, x);
  return *this;
}

}  // namespace weft::formats
