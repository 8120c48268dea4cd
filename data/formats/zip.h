#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/formats/file.h"

namespace weft::formats {

struct ZipEntry {
  std::string name;
  uint64_t size = 0;         ///< bytes of content
  uint64_t stored_size = 0;  ///< bytes in the file; equals `size` unless deflated
  uint64_t header_offset = 0, data_offset = 0;
  uint32_t crc = 0;
  bool deflated = false;
};

/// Directory and contents of a zip file (stored and deflated entries, zip64). The constructor checks the whole
/// directory against the file: bounds, local headers, overlaps, duplicate names, impossible sizes. Every failure is a
/// FileError. Nothing is ever extracted to disk, so entry names are only names. `file` must outlive the reader.
class ZipReader {
 public:
  explicit ZipReader(const InputFile& file);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// The entry of that exact name, or null.
  const ZipEntry* find(std::string_view name) const;
  /// Fills `out` with the entry's `size` bytes and compares the checksum (PyTorch can write files without checksums:
  /// all of them 0).
  void read(const ZipEntry& entry, void* out) const;
  /// The content as text. FileError when it exceeds `limit` bytes, or 16 MiB if it is deflated, which PyTorch never
  /// does.
  std::string read_text(const ZipEntry& entry, uint64_t limit) const;

 private:
  void read_directory(uint64_t offset, uint64_t bytes, uint64_t count);
  void check_local_headers(uint64_t directory_offset);
  [[noreturn]] void fail(const std::string& what) const;
  uint32_t read_stored(const ZipEntry& entry, char* out) const;
  uint32_t inflate(const ZipEntry& entry, char* out) const;

  const InputFile& file_;
  std::vector<ZipEntry> entries_;
  std::unordered_map<std::string_view, size_t> by_name_;
  bool has_checksums_ = false;
};

/// Writes stored entries whose data begins at multiples of 64 bytes, as PyTorch does. The same calls give the same
/// bytes.
class ZipWriter {
 public:
  explicit ZipWriter(AtomicFile& file) : file_(file) {}
  void add(std::string_view name, const void* data, uint64_t n);
  /// Writes the directory; nothing may be added afterwards.
  void finish();

 private:
  AtomicFile& file_;
  std::vector<ZipEntry> entries_;
};

}  // namespace weft::formats
