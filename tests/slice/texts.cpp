#include "tests/slice/texts.h"

#include <set>
#include <stdexcept>

namespace weft::slice {
namespace {

void paste(std::string_view name, std::set<std::string_view>& seen, std::string& out) {
  if (!seen.insert(name).second) return;
  std::string_view text;
  for (const Text& t : embedded_texts())
    if (t.name == name) text = t.text;
  if (text.empty()) throw std::runtime_error("not embedded: " + std::string(name));
  constexpr std::string_view include = "#include \"", once = "#pragma once";
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (line.starts_with(once)) continue;
    if (line.starts_with(include)) {
      line.remove_prefix(include.size());
      paste(line.substr(0, line.find('"')), seen, out);
    } else {
      out.append(line).push_back('\n');
    }
  }
}

}  // namespace

std::string pasted(std::initializer_list<std::string_view> names) {
  std::set<std::string_view> seen;
  std::string out;
  for (std::string_view name : names) paste(name, seen, out);
  return out;
}

}  // namespace weft::slice
