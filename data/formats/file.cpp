#include "data/formats/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/error.h"

namespace weft::formats {
namespace {

constexpr uint64_t kBuffer = 1 << 16;
constexpr uint64_t kLargestCall = 1 << 30;  // read() and write() take at most 2 GiB a call

constexpr const char* kTemporary = ".tmp.";

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

void remove_leftovers(const std::string& folder, const std::string& start) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder.empty() ? "." : folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(start) || name.find(kTemporary) == std::string::npos) continue;
    const int fd = ::open(at->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(at->path().c_str());
    ::close(fd);
  }
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // O_NONBLOCK: opening a pipe must not wait
  WEFT_CHECK_FILE(fd_ >= 0, "load: cannot open '{}': {}", path_, reason(errno));
  struct stat info;
  const bool known = ::fstat(fd_, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    ::close(fd_);
    WEFT_CHECK_FILE(false, "load: '{}' is {}; give the path of a regular file", path_,
                    known && S_ISDIR(info.st_mode) ? "a folder" : "not a regular file");
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

InputFile::~InputFile() { ::close(fd_); }

void InputFile::read(uint64_t offset, void* out, uint64_t n) const {
  WEFT_CHECK_FILE(contains(offset, n), "load: '{}' is truncated; {} bytes at {} expected, the file has {}", path_, n,
                  offset, size_);
  char* to = static_cast<char*>(out);
  while (n > 0) {
    const ssize_t got = ::pread(fd_, to, std::min(n, kLargestCall), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    WEFT_CHECK_FILE(got >= 0, "load: cannot read '{}': {}", path_, reason(errno));
    WEFT_CHECK_FILE(got > 0, "load: '{}' became shorter while it was read", path_);
    to += got;
    offset += static_cast<uint64_t>(got);
    n -= static_cast<uint64_t>(got);
  }
}

std::string InputFile::read_text(uint64_t offset, uint64_t n) const {
  WEFT_CHECK_FILE(contains(offset, n), "load: '{}' is truncated; {} bytes at {} expected, the file has {}", path_, n,
                  offset, size_);
  std::string text(n, '\0');
  read(offset, text.data(), n);
  return text;
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  std::error_code error;
  const auto status = std::filesystem::status(path_, error);
  if (std::filesystem::is_directory(status)) fail("write", EISDIR);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) fail("write", errno);
    return;
  }
  target_ = path_;
  if (std::filesystem::exists(status)) {  // a link keeps pointing at the file it points at
    const auto resolved = std::filesystem::canonical(path_, error);
    if (!error) target_ = resolved.string();
  }
  const std::filesystem::path target(target_);
  remove_leftovers(target.parent_path().string(), target.filename().string() + kTemporary);
  int why = EEXIST;
  for (int attempt = 0; fd_ < 0 && attempt < 100; ++attempt)
    if (!open_temporary()) why = errno;
  if (fd_ < 0) {
    temporary_.clear();
    fail("write", why);
  }
  struct stat old;
  if (::stat(target_.c_str(), &old) == 0)
    (void)!::fchmod(fd_, old.st_mode & 07777);  // only a nicety: keep the old file's mode
}

/// Opens and locks the next temporary file: a lock that is free tells that its writer is gone.
bool AtomicFile::open_temporary() {
  static std::atomic<unsigned> counter{0};
  temporary_ = target_ + kTemporary + std::to_string(::getpid()) + "." + std::to_string(counter++);
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) return false;
  ::flock(fd_, LOCK_EX | LOCK_NB);  // file systems without locks: leftovers stay
  struct stat info;
  if (::fstat(fd_, &info) == 0 && info.st_nlink > 0) return true;
  ::close(fd_);  // taken for a leftover before it was locked
  fd_ = -1;
  errno = EEXIST;
  return false;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* doing, int error) {
  WEFT_CHECK_FILE(false, "save: cannot {} '{}': {}; nothing under that name was changed", doing, path_, reason(error));
  __builtin_unreachable();
}

void AtomicFile::write(const void* data, uint64_t n) {
  position_ += n;
  if (n >= kBuffer) {
    flush();
    return write_out(static_cast<const char*>(data), n);
  }
  buffer_.append(static_cast<const char*>(data), n);
  if (buffer_.size() >= kBuffer) flush();
}

void AtomicFile::flush() {
  write_out(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::write_out(const char* data, uint64_t n) {
  while (n > 0) {
    const ssize_t done = ::write(fd_, data, std::min(n, kLargestCall));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write", errno);
    data += done;
    n -= static_cast<uint64_t>(done);
  }
}

void AtomicFile::commit() {
  flush();
  if (!temporary_.empty() && ::fsync(fd_) != 0) fail("write", errno);
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) fail("write", errno);
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("replace", errno);
  temporary_.clear();
  // The name itself must survive a power failure too; some file systems cannot sync a folder, so a failure here is
  // none.
  const auto folder = std::filesystem::path(target_).parent_path();
  const int folder_fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd >= 0) {
    ::fsync(folder_fd);
    ::close(folder_fd);
  }
}

void swap_bytes(void* data, uint64_t count, unsigned itemsize) {
  char* p = static_cast<char*>(data);
  for (uint64_t i = 0; itemsize > 1 && i < count; ++i, p += itemsize) std::reverse(p, p + itemsize);
}

}  // namespace weft::formats
