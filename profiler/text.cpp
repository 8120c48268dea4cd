#include "profiler/text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace weft::profiler::text {

std::string duration(double ns) {
  if (ns >= 1e9) return fmt::format("{:.3f}s", ns / 1e9);
  if (ns >= 1e6) return fmt::format("{:.3f}ms", ns / 1e6);
  return fmt::format("{:.3f}us", ns / 1e3);
}

std::string bytes(int64_t n) {
  constexpr std::array<const char*, 4> units = {"B", "KB", "MB", "GB"};
  double v = static_cast<double>(n);
  size_t unit = 0;
  while (std::abs(v) >= 1024 && unit + 1 < units.size()) {
    v /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", n) : fmt::format("{:.2f} {}", v, units[unit]);
}

std::string shapes(const std::vector<Input>& inputs) {
  std::string out = "[";
  for (size_t i = 0; i < inputs.size(); ++i)
    out += fmt::format("{}[{}]", i ? ", " : "", fmt::join(inputs[i].sizes.begin(), inputs[i].sizes.end(), ", "));
  return out + "]";
}

namespace {
/// Length of the UTF-8 character that `s` begins with; 0 when it begins with none.
size_t utf8_length(std::string_view s) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const unsigned first = byte(0);
  const size_t n = first < 0x80                    ? 1
                   : first >= 0xC2 && first < 0xE0 ? 2
                   : (first & 0xF0) == 0xE0        ? 3
                   : first >= 0xF0 && first < 0xF5 ? 4
                                                   : 0;
  for (size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  // Overlong forms, surrogates, beyond U+10FFFF.
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) >= 0xA0) || (first == 0xF0 && byte(1) < 0x90) ||
      (first == 0xF4 && byte(1) >= 0x90))
    return 0;
  return n;
}
}  // namespace

std::string json(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    const size_t n = utf8_length(s.substr(i));
    const unsigned char c = static_cast<unsigned char>(s[i]);
    if (n == 0)
      out += "\xEF\xBF\xBD";
    else if (c == '"' || c == '\\')
      (out += '\\') += s[i];
    else if (c < 0x20 || c == '<' || c == 0x7f)
      out += fmt::format("\\u{:04x}", c);
    else
      out += s.substr(i, n);
    i += n ? n : 1;
  }
  return out;
}

std::string html(std::string_view s) {
  std::string out;
  for (char c : s) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

}  // namespace weft::profiler::text
