#include "data/csv.h"

#include <charconv>
#include <limits>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "data/formats/file.h"

namespace weft::data {
namespace {

/// The lines of a file as fields, one line at a time.
class Reader {
 public:
  Reader(const std::string& path, std::string_view text, char delimiter)
      : path_(path), text_(text), delimiter_(delimiter) {}

  /// False at the end. `fields` holds the line that begins at line().
  bool next(std::vector<std::string>& fields) {
    if (at_ == text_.size()) return false;
    line_ = next_line_;
    fields.clear();
    do fields.push_back(field(fields.size()));
    while (at_ < text_.size() && text_[at_] == delimiter_ && ++at_ > 0);
    if (at_ < text_.size() && text_[at_] == '\r') ++at_;
    if (at_ < text_.size() && text_[at_] == '\n') ++at_;
    ++next_line_;
    return true;
  }
  int64_t line() const { return line_; }
  /// Whether nothing but ends of lines follows.
  bool rest_is_empty() const { return text_.find_first_not_of("\r\n", at_) == std::string_view::npos; }

 private:
  bool ends_field(char c) const { return c == delimiter_ || c == '\n' || c == '\r'; }

  std::string field(size_t column) {
    if (at_ == text_.size() || text_[at_] != '"') {
      const size_t first = at_;
      while (at_ < text_.size() && !ends_field(text_[at_])) ++at_;
      return std::string(text_.substr(first, at_ - first));
    }
    std::string out;
    const int64_t begun = next_line_;
    for (++at_;; ++at_) {
      WEFT_CHECK_FILE(at_ < text_.size(), "read_csv: '{}', line {}, column {}: the quote never ends", path_, begun,
                      column + 1);
      if (text_[at_] == '"' && (at_ + 1 == text_.size() || text_[at_ + 1] != '"')) break;
      if (text_[at_] == '"') ++at_;
      next_line_ += text_[at_] == '\n';
      out += text_[at_];
    }
    ++at_;
    WEFT_CHECK_FILE(at_ == text_.size() || ends_field(text_[at_]),
                    "read_csv: '{}', line {}, column {}: text follows a closing quote", path_, next_line_, column + 1);
    return out;
  }

  const std::string& path_;
  std::string_view text_;
  char delimiter_;
  size_t at_ = 0;
  int64_t line_ = 0, next_line_ = 1;
};

std::string_view trimmed(std::string_view s) {
  const size_t first = s.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  s = s.substr(first, s.find_last_not_of(" \t") - first + 1);
  if (s.size() > 1 && s[0] == '+' && s[1] != '-') s.remove_prefix(1);
  return s;
}

template <class T>
bool parse(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

/// Smallest and largest integer of a dtype.
std::pair<int64_t, int64_t> range_of(DType t) {
  switch (t) {
    case DType::bool_:
      return {0, 1};
    case DType::u8:
      return {0, 255};
    case DType::i8:
      return {-128, 127};
    case DType::i16:
      return {-32768, 32767};
    case DType::i32:
      return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    default:
      return {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
  }
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

int64_t index_of(const std::vector<std::string>& names, const std::string& name, const char* what) {
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return static_cast<int64_t>(i);
  WEFT_CHECK_INDEX(false, "{}: there is no column '{}'; there are: {}", what, name, joined(names));
  return -1;
}

}  // namespace

Tensor CsvTable::column(const std::string& name) const { return values.select(1, index_of(names, name, "column")); }

CsvTable read_csv(const std::string& path, const CsvOptions& o) {
  WEFT_CHECK(o.delimiter != '"' && o.delimiter != '\n' && o.delimiter != '\r',
             "read_csv: the delimiter must not be a quote or the end of a line");
  const formats::InputFile file(path);
  const std::string content = file.read_text(0, file.size());
  std::string_view text = content;
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  Reader reader(path, text, o.delimiter);
  std::vector<std::string> all, fields;
  bool more = !reader.rest_is_empty() && reader.next(fields);
  WEFT_CHECK_FILE(more, "read_csv: '{}' is empty", path);
  for (size_t i = 0; i < fields.size(); ++i) all.push_back(o.header ? fields[i] : std::to_string(i));
  if (o.header) more = !reader.rest_is_empty() && reader.next(fields);

  std::vector<size_t> chosen;
  for (const auto& column : o.columns) {
    const std::string* name = std::get_if<std::string>(&column);
    const int64_t i = name ? index_of(all, *name, "read_csv") : std::get<int64_t>(column);
    WEFT_CHECK_INDEX(i >= 0 && i < static_cast<int64_t>(all.size()),
                     "read_csv: column {} is out of range; '{}' has {} columns", i, path, all.size());
    chosen.push_back(static_cast<size_t>(i));
  }
  for (size_t i = 0; o.columns.empty() && i < all.size(); ++i) chosen.push_back(i);

  const bool floats = is_floating(o.dtype);
  const auto [low, high] = range_of(o.dtype);
  std::vector<double> reals;
  std::vector<int64_t> integers;
  int64_t rows = 0;
  for (; more; more = !reader.rest_is_empty() && reader.next(fields), ++rows) {
    WEFT_CHECK_FILE(fields.size() == all.size(), "read_csv: '{}', line {}: has {} fields; the first line has {}", path,
                    reader.line(), fields.size(), all.size());
    for (const size_t i : chosen) {
      const std::string_view field = trimmed(fields[i]);
      double real = o.missing.value_or(0);
      auto integer = static_cast<int64_t>(real);
      const bool good = field.empty() ? o.missing.has_value()
                        : floats      ? parse(field, real)
                                      : parse(field, integer) && integer >= low && integer <= high;
      WEFT_CHECK_FILE(
          good, "read_csv: '{}', line {}, column {} ('{}'): '{}' is no {}; {}", path, reader.line(), i + 1, all[i],
          fields[i].substr(0, 40), o.dtype,
          field.empty() ? "say what stands for it (missing)" : "leave the column out, or give another dtype");
      if (floats)
        reals.push_back(real);
      else
        integers.push_back(integer);
    }
  }
  CsvTable table;
  for (const size_t i : chosen) table.names.push_back(all[i]);
  const Dims sizes{rows, static_cast<int64_t>(chosen.size())};
  table.values = (floats ? tensor(reals, {.dtype = DType::f64, .device = DeviceType::cpu})
                         : tensor(integers, {.dtype = DType::i64, .device = DeviceType::cpu}))
                     .to(o.dtype)
                     .view(sizes);
  return table;
}

}  // namespace weft::data
