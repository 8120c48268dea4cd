#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/value.h"

namespace weft {

namespace formats {
class LogFile;
}

struct LoggerOptions {
  /// Goes on with a file that is there, keeping its rows up to this step: a run that is resumed at a checkpoint writes
  /// the rows behind it again. None: the file must not exist yet, or is replaced when `overwrite`.
  std::optional<int64_t> resume_from = {};
  bool overwrite = false;
};

/// A CSV file with a row per call: the first column is "step", the first row names the others. A row reaches the system
/// before log() returns; a torn last line of a killed run is dropped when the file is resumed.
///
///     CsvLogger log("run.csv", {.resume_from = step});
///     log.log(step, {{"loss", loss}, {"lr", lr}});
class CsvLogger {
 public:
  /// FileError when the file exists and nothing says what to do with it, is no CSV of a step column, or cannot be
  /// written.
  explicit CsvLogger(std::string path, const LoggerOptions& options = {});
  ~CsvLogger();
  /// `values`: a dict from names to numbers, bools, texts or none (an empty cell). Names that are missing leave their
  /// cell empty; weft::Error for one that the first row lacks.
  void log(int64_t step, const Value& values);

 private:
  std::unique_ptr<formats::LogFile> file_;
  std::vector<std::string> columns_;  // without step; empty: no row yet
};

/// A file with a JSON object per line: {"step": 1, "loss": 0.5}. Numbers that JSON lacks (NaN, infinity) become null.
/// Otherwise as CsvLogger, only that every line has its own names.
class JsonlLogger {
 public:
  explicit JsonlLogger(std::string path, const LoggerOptions& options = {});
  ~JsonlLogger();
  /// `values`: a dict of numbers, bools, texts, none, and lists and dicts of them. weft::Error for anything else.
  void log(int64_t step, const Value& values);

 private:
  std::unique_ptr<formats::LogFile> file_;
};

}  // namespace weft
