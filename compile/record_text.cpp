#include "compile/record_text.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"

namespace weft::graph {
namespace {

// Words of a few instructions that vectorise.
constexpr std::string_view kLight[] = {"T",    "where",    "isnan", "isinf",      "isfinite",   "signbit",
                                       "abs",  "copysign", "sign",  "max",        "min",        "fmax",
                                       "fmin", "clamp",    "fma",   "sqrt",       "rsqrt",      "floor",
                                       "ceil", "trunc",    "round", "zeros_like", "shift_left", "shift_right"};
// Words that vectorise, of some ten to thirty instructions. A function that calls anything else runs by its own loop.
constexpr std::string_view kHeavy[] = {"exp",      "exp2", "expm1", "tanh",  "sigmoid",
                                       "sigmoid2", "log",  "log2",  "log1p", "erf"};
template <size_t N>
bool is_in(const std::string_view (&words)[N], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

std::string_view source(std::string_view name) {
  for (const SourceText& s : source_texts())
    if (s.name == name) return s.text;
  WEFT_ASSERT(false, "no text of {} in the library", name);
  return {};
}

// What is left of a header where nothing can be included.
void add_header(std::string& to, std::string_view name) {
  std::string_view text = source(name);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (!line.starts_with("#include") && !line.starts_with("#pragma once")) to.append(line).append("\n");
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
}

bool in_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

using Weight = RecordText::Weight;
// Of the body of `function` in the struct, by the words that it calls; `called` when there is none.
Weight weigh(std::string_view record, std::string_view function) {
  size_t at = record.find(std::string(" ").append(function).append("("));
  if (at == std::string_view::npos) return Weight::called;
  at = record.find('{', at);
  int depth = 0, heavy = 0;
  size_t begin = at;  // of the latest name
  for (; at < record.size(); ++at) {
    const char c = record[at];
    if (c == '{') ++depth;
    if (c == '}' && --depth == 0) return heavy == 0 ? Weight::light : heavy == 1 ? Weight::heavy : Weight::called;
    if (c == '/' && record[at + 1] == '/') at = record.find('\n', at);
    if (c == '(' && begin < at) {
      const std::string_view word = record.substr(begin, at - begin);
      if (is_in(kHeavy, word))
        ++heavy;
      else if (!is_in(kLight, word))
        return Weight::called;
    }
    if (!in_name(record[at])) begin = at + 1;
  }
  return Weight::called;
}

using Records = std::unordered_map<const PointwiseInfo*, RecordText>;

void add(Records& records, const PointwiseInfo& info, std::string_view name) {
  const std::string head = std::string("\nstruct ").append(name).append(" : Pointwise<");
  for (const SourceText& s : source_texts()) {
    const size_t begin = s.text.find(head);
    if (begin == std::string_view::npos) continue;
    constexpr std::string_view kEnd = "\n};\n";
    RecordText r{.name = name, .text = s.text.substr(begin + 1, s.text.find(kEnd, begin) + kEnd.size() - begin - 1)};
    r.forward = weigh(r.text, function_name(info, -1));
    for (int i = 0; i < info.arity && info.differentiable; ++i) r.backward[i] = weigh(r.text, function_name(info, i));
    records.emplace(&info, r);
    return;
  }
  WEFT_ASSERT(false, "no text of the record {} in the library", name);
}

}  // namespace

std::string_view function_name(const PointwiseInfo& info, int which) {
  constexpr std::string_view kGradients[] = {"backward_a", "backward_b", "backward_c"};
  return which < 0 ? "forward" : info.arity == 1 ? "backward" : kGradients[which];
}

const std::string& common_text(bool transcendental) {
  const auto made = [](std::initializer_list<const char*> words) {
    std::string t =
        "using int8_t = signed char;\nusing uint8_t = unsigned char;\nusing int16_t = short;\n"
        "using uint16_t = unsigned short;\nusing int32_t = int;\nusing uint32_t = unsigned;\n"
        "using int64_t = __INT64_TYPE__;\n";
    for (const char* name : words) add_header(t, name);
    for (const char* name : {"core/ops/math_composite.h", "core/half.h", "core/ops/cast.h", "core/ops/record.h"})
      add_header(t, name);
    return t;
  };
  static const std::string few = made({"core/ops/math_basic.h"}),
                           all = made({"core/ops/math_basic.h", "core/ops/math_exp.h", "core/ops/math_log.h",
                                       "core/ops/math_special.h"});
  return transcendental ? all : few;
}

const RecordText* record_text(const PointwiseInfo* info) {
  static const Records records = [] {
    Records all;
#define WEFT_POINTWISE(Record, name) add(all, pointwise_ops::name, #Record);
#define WEFT_UNARY WEFT_POINTWISE
#define WEFT_BINARY WEFT_POINTWISE
#define WEFT_TERNARY WEFT_POINTWISE
#include "core/ops/pointwise.def"
#undef WEFT_POINTWISE
#undef WEFT_UNARY
#undef WEFT_BINARY
#undef WEFT_TERNARY
    return all;
  }();
  const auto found = records.find(info);
  return found == records.end() ? nullptr : &found->second;
}

}  // namespace weft::graph
