#pragma once
#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "core/file.h"

// The system's C++ compiler as a function, and files that exist in memory only.
namespace weft::graph {

using detail::File;

/// An empty file in memory; a number below 0 when there can be none.
int memory_file();
/// False, with errno, when it cannot hold all.
bool fill(const File& file, const std::string& content);

/// The CPU that runs this: what -march=native depends on.
std::string cpu_facts();

class Toolchain {
 public:
  /// $CXX, which may have arguments, else the compiler that weft was built with, else what the system calls one.
  Toolchain();
  /// Why there is none; "" when there is one.
  const std::string& missing() const { return missing_; }
  /// All that the code depends on beside its text: the compiler, its flags, the CPU.
  const std::string& key() const { return key_; }
  /// A shared library of `text`. False, with the reason, when that fails or `stop` becomes true. No shell is used, and
  /// nothing is left on disk, unless the program is killed: what such have left for an hour goes with the next call.
  bool compile(const std::string& text, const std::atomic<bool>& stop, std::string& image, std::string& why);

 private:
  bool compile_in(const std::string& place, const std::string& text, const std::atomic<bool>& stop, std::string& image,
                  std::string& why);

  std::vector<std::string> command_;  ///< the first word is a path
  std::string key_, missing_;
  std::vector<std::string> places_, environment_;
  bool swept_ = false;
};

}  // namespace weft::graph
