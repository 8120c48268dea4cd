#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace weft::formats {

static_assert(std::endian::native == std::endian::little,
              "the file formats are little endian, and so is every machine this runs on");

/// The little-endian T at `p`, of any alignment. The caller has checked the bounds.
template <class T>
T get(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
/// Appends the little-endian bytes of `value`.
template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace weft::formats
