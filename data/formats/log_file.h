#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace weft::formats {

/// A file that grows by whole records: each goes to the system in one call, so that a killed program loses at most the
/// record it was writing. FileError with the path and the system's reason.
class LogFile {
 public:
  /// Creates the file, or goes on at its end.
  explicit LogFile(std::string path);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  const std::string& path() const { return path_; }
  void append(std::string_view record);
  /// Until the disk has it.
  void sync();

 private:
  [[noreturn]] void fail(const char* doing, int error) const;

  std::string path_;
  int fd_ = -1;
};

/// Rewrites a file of lines, atomically: without its last line if that does not end (its writer was killed), and
/// without the lines for which `keep` is false. Nothing happens where there is no file. The lines kept.
size_t keep_lines(const std::string& path, const std::function<bool(std::string_view line, size_t number)>& keep);

}  // namespace weft::formats
