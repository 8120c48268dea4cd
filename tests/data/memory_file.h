#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <string_view>

namespace weft::test {

/// A file without a disk, for tests that write thousands.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("weft_test", MFD_CLOEXEC)) {}
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  /// The path under which this process can open it.
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }
  /// Whether `content` is now all there is in it.
  bool set(std::string_view content) const {
    return ::ftruncate(fd_, 0) == 0 &&
           ::pwrite(fd_, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size());
  }

 private:
  int fd_;
};

}  // namespace weft::test
