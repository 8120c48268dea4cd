#pragma once
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"

namespace weft::tools {

/// A JSON file as nlohmann::json or ordered_json; weft::FileError when it cannot be read or parsed.
template <class Json>
Json read_json(const std::string& path) {
  std::ifstream in(path);
  WEFT_CHECK_FILE(in.good(), "{}: cannot be opened", path);
  try {
    return Json::parse(in);
  } catch (const typename Json::exception& e) {
    weft::detail::fail_with(weft::detail::Fault::file, "{}: {}", path, e.what());
  }
}

}  // namespace weft::tools
