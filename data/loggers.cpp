#include "data/loggers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/formats/log_file.h"

namespace weft {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::string_view kStep = "step";

void prepare(const std::string& path, const LoggerOptions& o) {
  std::error_code error;
  if (o.resume_from || !fs::is_regular_file(path, error)) return;
  WEFT_CHECK_FILE(o.overwrite || fs::file_size(path, error) == 0,
                  "log: '{}' exists; give resume_from to go on with it, or overwrite", path);
  fs::resize_file(path, 0, error);
  WEFT_CHECK_FILE(!error, "log: cannot write '{}': {}", path, error.message());
}

std::string cell(const Value& v, const std::string& name) {
  if (v.is_none()) return {};
  if (v.is_bool()) return v.as_bool() ? "true" : "false";
  if (v.is_int()) return std::to_string(v.as_int());
  if (v.is_double()) return fmt::format("{}", v.as_double());
  const std::string& text = v.as_string(name);
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c == '\n' || c == '\r' ? ' ' : c;  // a row is a line
  }
  return quoted + '"';
}

/// The cells of a line as cell() writes them.
std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool quote = line[i] == '"';
    if (quote && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      cells.back() += line[i++];
    } else if (quote) {
      quoted = !quoted;
    } else if (line[i] == ',' && !quoted) {
      cells.emplace_back();
    } else {
      cells.back() += line[i];
    }
  }
  return cells;
}

std::optional<int64_t> integer(std::string_view text) {
  int64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(v) : std::nullopt;
}

ordered_json json_of(const Value& v, const std::string& name) {
  switch (v.kind()) {
    case Value::Kind::none:
      return nullptr;
    case Value::Kind::boolean:
      return v.as_bool();
    case Value::Kind::integer:
      return v.as_int();
    case Value::Kind::number:
      return std::isfinite(v.as_double()) ? ordered_json(v.as_double()) : ordered_json(nullptr);
    case Value::Kind::list: {
      ordered_json list = ordered_json::array();
      for (const Value& item : v.as_list()) list.push_back(json_of(item, name));
      return list;
    }
    case Value::Kind::dict: {
      ordered_json dict = ordered_json::object();
      for (const auto& [key, item] : v.as_dict()) dict[key.as_string(name)] = json_of(item, name);
      return dict;
    }
    default:
      return v.as_string(name);
  }
}

}  // namespace

CsvLogger::CsvLogger(std::string path, const LoggerOptions& options) {
  prepare(path, options);
  if (options.resume_from) {
    formats::keep_lines(path, [&](std::string_view line, size_t number) {
      std::vector<std::string> cells = cells_of(line);
      if (number == 0) {
        WEFT_CHECK_FILE(cells[0] == kStep, "log: '{}' is no log of CsvLogger: its first column is '{}'", path,
                        cells[0]);
        columns_.assign(cells.begin() + 1, cells.end());
        return true;
      }
      const auto step = integer(cells[0]);
      WEFT_CHECK_FILE(step, "log: '{}' line {} has the step '{}'", path, number + 1, cells[0]);
      return *step <= *options.resume_from;
    });
  }
  file_ = std::make_unique<formats::LogFile>(std::move(path));
}
CsvLogger::~CsvLogger() = default;

void CsvLogger::log(int64_t step, const Value& values) {
  std::string text;
  const auto& dict = values.as_dict("log: values");
  if (columns_.empty()) {
    text = kStep;
    for (const auto& [name, value] : dict) {
      columns_.push_back(name.as_string("log: name"));
      text += "," + cell(columns_.back(), "name");
    }
    text += '\n';
  }
  for (const auto& [name, value] : dict)
    WEFT_CHECK(std::find(columns_.begin(), columns_.end(), name.as_string("log: name")) != columns_.end(),
               "log: '{}' has no column '{}'; the first row must name all (none for an empty cell)", file_->path(),
               name.as_string());
  text += std::to_string(step);
  for (const std::string& column : columns_) {
    const Value* value = values.find(column);
    text += ",";
    if (value) text += cell(*value, column);
  }
  file_->append(text + '\n');
}

JsonlLogger::JsonlLogger(std::string path, const LoggerOptions& options) {
  prepare(path, options);
  if (options.resume_from) {
    formats::keep_lines(path, [&](std::string_view line, size_t number) {
      const auto object = nlohmann::json::parse(line, nullptr, false);
      WEFT_CHECK_FILE(object.is_object() && object.contains(kStep) && object[std::string(kStep)].is_number_integer(),
                      "log: '{}' line {} is no JSON object with a step", path, number + 1);
      return object[std::string(kStep)].get<int64_t>() <= *options.resume_from;
    });
  }
  file_ = std::make_unique<formats::LogFile>(std::move(path));
}
JsonlLogger::~JsonlLogger() = default;

void JsonlLogger::log(int64_t step, const Value& values) {
  ordered_json line{{kStep, step}};
  for (const auto& [key, value] : values.as_dict("log: values")) {
    const std::string& name = key.as_string("log: name");
    WEFT_CHECK(name != kStep, "log: 'step' is the first argument, not a value");
    line[name] = json_of(value, name);
  }
  file_->append(line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + '\n');
}

}  // namespace weft
