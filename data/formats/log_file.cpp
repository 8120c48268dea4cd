#include "data/formats/log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "data/formats/file.h"

namespace weft::formats {

LogFile::LogFile(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("open", errno);
}

LogFile::~LogFile() { ::close(fd_); }

void LogFile::fail(const char* doing, int error) const {
  WEFT_CHECK_FILE(false, "log: cannot {} '{}': {}", doing, path_, std::generic_category().message(error));
  __builtin_unreachable();
}

void LogFile::append(std::string_view record) {
  while (!record.empty()) {
    const ssize_t done = ::write(fd_, record.data(), record.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write", errno);
    record.remove_prefix(static_cast<size_t>(done));
  }
}

void LogFile::sync() {
  if (::fsync(fd_) != 0 && errno != EINVAL) fail("write", errno);  // EINVAL: a pipe
}

size_t keep_lines(const std::string& path, const std::function<bool(std::string_view, size_t)>& keep) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return 0;
  const InputFile file(path);
  const std::string text = file.read_text(0, file.size());
  std::string kept;
  size_t count = 0, number = 0;
  for (size_t at = 0, end = text.find('\n'); end != text.npos; at = end + 1, end = text.find('\n', at)) {
    const std::string_view line(text.data() + at, end - at);
    if (!keep(line, number++)) continue;
    kept.append(line) += '\n';
    ++count;
  }
  if (kept.size() != text.size()) {
    AtomicFile replacement(path);
    replacement.write(kept);
    replacement.commit();
  }
  return count;
}

}  // namespace weft::formats
