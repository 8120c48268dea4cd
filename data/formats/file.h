#pragma once
#include <cstdint>
#include <string>

namespace weft::formats {

/// A regular file opened for reading at explicit offsets. Nothing is mapped: a file that shrinks meanwhile gives an
/// error, not a signal.
class InputFile {
 public:
  /// FileError when the file cannot be opened or is not a regular file.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  /// Whether [offset, offset + n) lies inside the file.
  bool contains(uint64_t offset, uint64_t n) const { return offset <= size_ && n <= size_ - offset; }
  /// Fills `out` with `n` bytes from `offset`; FileError when the file ends before.
  void read(uint64_t offset, void* out, uint64_t n) const;
  std::string read_text(uint64_t offset, uint64_t n) const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// A file that appears under its name only when it is complete: written to a temporary file in the same folder
/// (NAME.tmp.PID.N), synced, renamed, and the folder synced. Until commit() returns, a file of that name stays as it
/// was; without commit() the temporary file is removed, and what killed processes left of them goes when the same name
/// is written next. A path that is a device or a pipe is written directly. Every failure is a FileError with the path
/// and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Bytes written so far.
  uint64_t position() const { return position_; }
  const std::string& path() const { return path_; }
  void write(const void* data, uint64_t n);
  void write(const std::string& text) { write(text.data(), text.size()); }
  void commit();

 private:
  [[noreturn]] void fail(const char* doing, int error);
  bool open_temporary();
  void flush();
  void write_out(const char* data, uint64_t n);

  std::string path_, target_,
      temporary_;  // target_: path_ with links resolved; temporary_ is empty for devices and pipes
  std::string buffer_;
  uint64_t position_ = 0;
  int fd_ = -1;
};

/// Removes temporary files of AtomicFile in `folder` whose names begin with `start` and whose writers are gone.
void remove_leftovers(const std::string& folder, const std::string& start);

/// Reverses the bytes of each of `count` elements of `itemsize` bytes.
void swap_bytes(void* data, uint64_t count, unsigned itemsize);

}  // namespace weft::formats
