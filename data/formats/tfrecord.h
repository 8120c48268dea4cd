#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weft::formats {

/// CRC-32C (Castagnoli) of some bytes; 0xe3069283 for "123456789".
uint32_t crc32c(std::string_view bytes);

/// A record of TensorFlow's record files: length, its masked CRC, the bytes, their masked CRC.
std::string tfrecord(std::string_view bytes);

/// Writes the fields of a protobuf message one behind the other; the first argument is the number of the field.
class Protobuf {
 public:
  /// int64, bool, enum.
  Protobuf& integer(int field, int64_t v);
  /// double, float.
  Protobuf& number(int field, double v);
  Protobuf& single(int field, float v);
  /// string, bytes, a message.
  Protobuf& text(int field, std::string_view v);
  /// repeated double, packed.
  Protobuf& numbers(int field, std::span<const double> v);
  const std::string& bytes() const { return out_; }

 private:
  void varint(uint64_t v);
  std::string out_;
};

}  // namespace weft::formats
