#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace weft::data {

struct CsvOptions {
  bool header = true;  ///< the first line names the columns
  char delimiter = ',';
  /// Columns to read, in this order: names (with a header), or numbers from 0. Default: all.
  std::vector<std::variant<int64_t, std::string>> columns = {};
  DType dtype = DType::f32;
  /// What an empty field stands for; default: it is an error.
  std::optional<double> missing = {};
};

/// Numbers of a CSV file.
struct CsvTable {
  std::vector<std::string> names;  ///< of the columns; "0", "1", .. without a header
  Tensor values;                   ///< [rows, columns]

  /// Column by name, [rows]; IndexError naming those there are.
  Tensor column(const std::string& name) const;
};

/// Reads a CSV file (RFC 4180: fields may be quoted, "" inside quotes is a quote, lines end in LF or CRLF; a byte order
/// mark and empty lines at the end are left out) into one dtype. FileError naming line and column for what is no number
/// of that dtype, for lines of another length, and for quotes that do not end.
CsvTable read_csv(const std::string& path, const CsvOptions& options = {});

}  // namespace weft::data
