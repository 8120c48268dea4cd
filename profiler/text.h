#pragma once
#include <string>
#include <string_view>

#include "profiler/profiler.h"

// How the profiler writes times, sizes, shapes and strings.
namespace weft::profiler::text {

/// "12.345us", "1.234ms", "5.678s".
std::string duration(double ns);
/// "12 B", "1.50 KB", "-3.00 MB".
std::string bytes(int64_t n);
/// "[[2, 3], [], [3]]".
std::string shapes(const std::vector<Input>& inputs);
/// Between the quotes of a JSON string; bytes that are no UTF-8 become U+FFFD. `<` is escaped too, so that the text may
/// stand inside of <script>.
std::string json(std::string_view s);
std::string html(std::string_view s);

}  // namespace weft::profiler::text
