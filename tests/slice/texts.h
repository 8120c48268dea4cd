#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace weft::slice {

struct Text {
  std::string_view name;  // as it is included: "core/ops/math.h"
  std::string_view text;
};

// The headers that run-time compilation may use, from inside the program.
std::span<const Text> embedded_texts();

// One text of the named headers and all they include, each once, without #include and #pragma once.
std::string pasted(std::initializer_list<std::string_view> names);

}  // namespace weft::slice
