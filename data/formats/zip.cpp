#include "data/formats/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data/formats/bytes.h"

namespace weft::formats {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kLocator64 = 0x07064b50;
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr uint64_t kAlignment = 64;
constexpr uint64_t kChunk = 1 << 20;
constexpr uint64_t kDeflatedTextLimit = 16 << 20;
constexpr uint32_t kFull32 = 0xffffffff;
constexpr uint16_t kFull16 = 0xffff, kZip64Field = 1;
constexpr uint16_t kUtf8 = 1 << 11, kDescriptor = 1 << 3, kEncrypted = 1;

uint32_t add_crc(uint32_t crc, const char* data, uint64_t n) {
  for (; n > 0;) {
    const auto part = static_cast<uInt>(std::min<uint64_t>(n, kChunk));
    crc = static_cast<uint32_t>(::crc32(crc, reinterpret_cast<const Bytef*>(data), part));
    data += part;
    n -= part;
  }
  return crc;
}

}  // namespace

void ZipReader::fail(const std::string& what) const {
  WEFT_CHECK_FILE(false, "load: '{}' is a damaged zip archive; {}", file_.path(), what);
  __builtin_unreachable();
}

ZipReader::ZipReader(const InputFile& file) : file_(file) {
  // The end record is the last thing in the file, followed by a comment of at most 65535 bytes.
  const uint64_t tail_bytes = std::min<uint64_t>(file.size(), kEndBytes + kFull16 + kLocatorBytes);
  const uint64_t tail_offset = file.size() - tail_bytes;
  const std::string tail = file.read_text(tail_offset, tail_bytes);
  size_t end = std::string::npos;
  for (size_t at = tail.size() < kEndBytes ? 0 : tail.size() - kEndBytes + 1; at-- > 0;) {
    if (get<uint32_t>(&tail[at]) == kEnd && at + kEndBytes + get<uint16_t>(&tail[at + 20]) == tail.size()) {
      end = at;
      break;
    }
  }
  if (end == std::string::npos) fail("its directory is missing, so the file is probably truncated");
  const char* record = &tail[end];
  const uint64_t end_offset = tail_offset + end;
  uint64_t count = get<uint16_t>(record + 10), bytes = get<uint32_t>(record + 12), offset = get<uint32_t>(record + 16);
  uint64_t directory_limit = end_offset;
  if (get<uint16_t>(record + 4) != get<uint16_t>(record + 6)) fail("it spans several disks");
  if (end >= kLocatorBytes && get<uint32_t>(record - kLocatorBytes) == kLocator64) {
    const uint64_t at = get<uint64_t>(record - kLocatorBytes + 8);
    if (at > end_offset || end_offset - at < kEnd64Bytes + kLocatorBytes)
      fail("its zip64 end record lies outside the file");
    const std::string end64 = file.read_text(at, kEnd64Bytes);
    if (get<uint32_t>(&end64[0]) != kEnd64) fail("its zip64 end record is missing");
    count = get<uint64_t>(&end64[32]);
    bytes = get<uint64_t>(&end64[40]);
    offset = get<uint64_t>(&end64[48]);
    directory_limit = at;
  }
  if (offset > directory_limit || bytes != directory_limit - offset)
    fail("its directory does not end where the end record begins");
  if (count > bytes / kCentralBytes) fail("its directory claims more entries than it has room for");
  read_directory(offset, bytes, count);
  check_local_headers(offset);
}

void ZipReader::read_directory(uint64_t offset, uint64_t bytes, uint64_t count) {
  const std::string directory = file_.read_text(offset, bytes);
  entries_.reserve(count);
  size_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (directory.size() - at < kCentralBytes || get<uint32_t>(&directory[at]) != kCentral) {
      fail("entry " + std::to_string(i) + " of its directory is not one");
    }
    const char* head = &directory[at];
    const size_t name_bytes = get<uint16_t>(head + 28), extra_bytes = get<uint16_t>(head + 30),
                 comment_bytes = get<uint16_t>(head + 32);
    if (directory.size() - at - kCentralBytes < name_bytes + extra_bytes + comment_bytes)
      fail("an entry of its directory is cut off");
    ZipEntry entry;
    entry.name.assign(head + kCentralBytes, name_bytes);
    entry.crc = get<uint32_t>(head + 16);
    entry.stored_size = get<uint32_t>(head + 20);
    entry.size = get<uint32_t>(head + 24);
    entry.header_offset = get<uint32_t>(head + 42);
    const uint16_t method = get<uint16_t>(head + 10);
    if (get<uint16_t>(head + 8) & kEncrypted) fail("entry '" + entry.name + "' is encrypted");
    if (method != 0 && method != 8)
      fail("entry '" + entry.name + "' uses compression method " + std::to_string(method) + "; 0 and 8 are known");
    entry.deflated = method == 8;

    std::string_view extra(head + kCentralBytes + name_bytes, extra_bytes);
    while (extra.size() >= 4) {
      const uint16_t id = get<uint16_t>(extra.data()), length = get<uint16_t>(extra.data() + 2);
      if (length > extra.size() - 4) break;  // padding, not fields
      std::string_view field = extra.substr(4, length);
      for (uint64_t* value : {&entry.size, &entry.stored_size, &entry.header_offset}) {
        if (id != kZip64Field || *value != kFull32 || field.size() < 8) continue;
        *value = get<uint64_t>(field.data());
        field.remove_prefix(8);
      }
      extra.remove_prefix(4 + length);
    }
    if (!entry.deflated && entry.size != entry.stored_size)
      fail("entry '" + entry.name + "' is stored, yet has two sizes");
    // Deflate cannot shrink by more than 1032 : 1.
    if (entry.deflated && entry.size / 1032 > entry.stored_size)
      fail("entry '" + entry.name + "' claims an impossible size");
    has_checksums_ |= entry.crc != 0;
    entries_.push_back(std::move(entry));
    at += kCentralBytes + name_bytes + extra_bytes + comment_bytes;
  }
  if (at != directory.size()) fail("its directory is longer than its entries");
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (!by_name_.emplace(entries_[i].name, i).second) fail("entry '" + entries_[i].name + "' exists twice");
  }
}

void ZipReader::check_local_headers(uint64_t directory_offset) {
  for (ZipEntry& entry : entries_) {
    const uint64_t head_bytes = kLocalBytes + entry.name.size();
    if (entry.header_offset > directory_offset || directory_offset - entry.header_offset < head_bytes) {
      fail("entry '" + entry.name + "' lies outside the file");
    }
    const std::string head = file_.read_text(entry.header_offset, head_bytes);
    const bool described_later = get<uint16_t>(&head[6]) & kDescriptor;
    const bool agrees =
        get<uint32_t>(&head[0]) == kLocal && get<uint16_t>(&head[26]) == entry.name.size() &&
        std::string_view(head).substr(kLocalBytes) == entry.name && (get<uint16_t>(&head[8]) == 8) == entry.deflated &&
        (described_later || get<uint32_t>(&head[14]) == entry.crc) &&
        (described_later || get<uint32_t>(&head[18]) == kFull32 || get<uint32_t>(&head[18]) == entry.stored_size);
    if (!agrees) fail("the directory and the header of entry '" + entry.name + "' disagree");
    entry.data_offset = entry.header_offset + head_bytes + get<uint16_t>(&head[28]);
    if (entry.data_offset > directory_offset || entry.stored_size > directory_offset - entry.data_offset) {
      fail("entry '" + entry.name + "' reaches beyond the data");
    }
  }
  std::vector<const ZipEntry*> order;
  for (const ZipEntry& entry : entries_) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->header_offset < b->header_offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->data_offset + order[i - 1]->stored_size > order[i]->header_offset) {
      fail("entries '" + order[i - 1]->name + "' and '" + order[i]->name + "' overlap");
    }
  }
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

void ZipReader::read(const ZipEntry& entry, void* out) const {
  char* to = static_cast<char*>(out);
  const uint32_t crc = entry.deflated ? inflate(entry, to) : read_stored(entry, to);
  if (has_checksums_ && crc != entry.crc) fail("entry '" + entry.name + "' does not match its checksum");
}

uint32_t ZipReader::read_stored(const ZipEntry& entry, char* out) const {
  uint32_t crc = 0;
  for (uint64_t done = 0; done < entry.size;) {  // in chunks, so that the checksum finds the bytes in the cache
    const uint64_t part = std::min(kChunk, entry.size - done);
    file_.read(entry.data_offset + done, out + done, part);
    crc = add_crc(crc, out + done, part);
    done += part;
  }
  return crc;
}

uint32_t ZipReader::inflate(const ZipEntry& entry, char* out) const {
  z_stream stream{};
  WEFT_ASSERT(inflateInit2(&stream, -MAX_WBITS) == Z_OK, "zip: zlib has no memory");
  struct End {
    z_stream* stream;
    ~End() { inflateEnd(stream); }
  } end{&stream};
  std::string chunk;
  uint64_t taken = 0, made = 0;
  uint32_t crc = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    if (stream.avail_in == 0 && taken < entry.stored_size) {
      chunk = file_.read_text(entry.data_offset + taken, std::min(kChunk, entry.stored_size - taken));
      stream.next_in = reinterpret_cast<Bytef*>(chunk.data());
      stream.avail_in = static_cast<uInt>(chunk.size());
      taken += chunk.size();
    }
    Bytef spare;  // once `out` is full, one more byte proves that the entry is longer than it says
    const uint64_t room = std::min(kChunk, entry.size - made);
    stream.next_out = room > 0 ? reinterpret_cast<Bytef*>(out + made) : &spare;
    stream.avail_out = room > 0 ? static_cast<uInt>(room) : 1;
    const uInt before = stream.avail_out;
    status = ::inflate(&stream, Z_NO_FLUSH);
    const uInt got = before - stream.avail_out;
    if (room == 0 && got > 0) fail("entry '" + entry.name + "' is longer than its directory says");
    crc = add_crc(crc, out + made, got);
    made += got;
  }
  if (status != Z_STREAM_END || made != entry.size || taken != entry.stored_size || stream.avail_in != 0) {
    fail("the compressed data of entry '" + entry.name + "' is damaged");
  }
  return crc;
}

std::string ZipReader::read_text(const ZipEntry& entry, uint64_t limit) const {
  limit = entry.deflated ? std::min(limit, kDeflatedTextLimit) : limit;
  WEFT_CHECK_FILE(entry.size <= limit, "load: entry '{}' of '{}' has {} bytes; at most {} are taken here", entry.name,
                  file_.path(), entry.size, limit);
  std::string text(entry.size, '\0');
  read(entry, text.data());
  return text;
}

void ZipWriter::add(std::string_view name, const void* data, uint64_t n) {
  ZipEntry entry;
  entry.name = name;
  entry.size = entry.stored_size = n;
  entry.header_offset = file_.position();
  entry.crc = add_crc(0, static_cast<const char*>(data), n);
  const bool large = n >= kFull32;
  std::string head;
  put(head, kLocal);
  put<uint16_t>(head, large ? 45 : 20);
  put<uint16_t>(head, kUtf8);
  put<uint16_t>(head, 0);     // stored
  put<uint16_t>(head, 0);     // 00:00:00
  put<uint16_t>(head, 0x21);  // 1980-01-01, the first date there is
  put(head, entry.crc);
  put<uint32_t>(head, large ? kFull32 : static_cast<uint32_t>(n));
  put<uint32_t>(head, large ? kFull32 : static_cast<uint32_t>(n));
  put<uint16_t>(head, static_cast<uint16_t>(name.size()));
  std::string extra;
  if (large) {
    put<uint16_t>(extra, kZip64Field);
    put<uint16_t>(extra, 16);
    put(extra, n);
    put(extra, n);
  }
  const uint64_t unpadded = entry.header_offset + kLocalBytes + name.size() + extra.size() + 4;
  const uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  extra += "FB";  // PyTorch's padding field
  put<uint16_t>(extra, static_cast<uint16_t>(padding));
  extra.append(padding, 'Z');
  put<uint16_t>(head, static_cast<uint16_t>(extra.size()));
  file_.write(head);
  file_.write(name.data(), name.size());
  file_.write(extra);
  file_.write(data, n);
  entries_.push_back(std::move(entry));
}

void ZipWriter::finish() {
  const uint64_t offset = file_.position();
  for (const ZipEntry& entry : entries_) {
    std::string extra;
    const auto clipped = [&](uint64_t value) {
      if (value < kFull32) return static_cast<uint32_t>(value);
      put(extra, value);
      return kFull32;
    };
    const uint32_t size = clipped(entry.size), stored = clipped(entry.stored_size),
                   header = clipped(entry.header_offset);
    std::string head;
    put(head, kCentral);
    put<uint16_t>(head, 45);
    put<uint16_t>(head, extra.empty() ? 20 : 45);
    put<uint16_t>(head, kUtf8);
    put<uint16_t>(head, 0);
    put<uint16_t>(head, 0);
    put<uint16_t>(head, 0x21);
    put(head, entry.crc);
    put(head, stored);
    put(head, size);
    put<uint16_t>(head, static_cast<uint16_t>(entry.name.size()));
    put<uint16_t>(head, static_cast<uint16_t>(extra.empty() ? 0 : extra.size() + 4));
    head.append(2 + 2 + 2 + 4, '\0');  // comment, disk, attributes
    put(head, header);
    head += entry.name;
    if (!extra.empty()) {
      put<uint16_t>(head, kZip64Field);
      put<uint16_t>(head, static_cast<uint16_t>(extra.size()));
      head += extra;
    }
    file_.write(head);
  }
  const uint64_t end = file_.position(), bytes = end - offset, count = entries_.size();
  std::string tail;
  if (count >= kFull16 || bytes >= kFull32 || offset >= kFull32) {
    put(tail, kEnd64);
    put<uint64_t>(tail, kEnd64Bytes - 12);
    put<uint16_t>(tail, 45);
    put<uint16_t>(tail, 45);
    put<uint64_t>(tail, 0);  // disks
    put(tail, count);
    put(tail, count);
    put(tail, bytes);
    put(tail, offset);
    put(tail, kLocator64);
    put<uint32_t>(tail, 0);
    put(tail, end);
    put<uint32_t>(tail, 1);
  }
  put(tail, kEnd);
  put<uint32_t>(tail, 0);  // disks
  const auto count16 = static_cast<uint16_t>(std::min<uint64_t>(count, kFull16));
  put(tail, count16);
  put(tail, count16);
  put(tail, static_cast<uint32_t>(std::min<uint64_t>(bytes, kFull32)));
  put(tail, static_cast<uint32_t>(std::min<uint64_t>(offset, kFull32)));
  put<uint16_t>(tail, 0);
  file_.write(tail);
}

}  // namespace weft::formats
