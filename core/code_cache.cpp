#include "core/code_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include "core/file.h"

namespace weft::detail {
namespace {

constexpr char kMagic[16] = "weft kernel 1\n";
constexpr const char* kSuffix = ".kernel";
constexpr const char* kUnfinished = ".part";

struct Head {
  char magic[16];
  uint64_t key, name, image;  // bytes of each, which follow in this order
  uint64_t checksum;          // of all that follows
};

bool read_all(int file, char* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::read(file, to, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    bytes -= size_t(n);
  }
  return true;
}
bool write_all(int file, const char* from, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::write(file, from, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n == 0) errno = ENOSPC;
      return false;
    }
    from += n;
    bytes -= size_t(n);
  }
  return true;
}

bool private_to_us(const struct stat& s) { return s.st_uid == geteuid() && (s.st_mode & (S_IWGRP | S_IWOTH)) == 0; }

}  // namespace

uint64_t hash_bytes(const char* data, size_t bytes, uint64_t from) {
  for (size_t i = 0; i < bytes; ++i) from = (from ^ static_cast<unsigned char>(data[i])) * 0x100000001b3ull;
  return from;
}

std::string CodeCache::standard_folder() {
  if (const char* folder = std::getenv("WEFT_CACHE_DIR")) return folder;
  if (const char* caches = std::getenv("XDG_CACHE_HOME"); caches && *caches == '/')
    return std::string(caches) + "/weft";
  if (const char* home = std::getenv("HOME"); home && *home) return std::string(home) + "/.cache/weft";
  return {};
}

CodeCache& CodeCache::standard() {
  static CodeCache* cache = new CodeCache(standard_folder());
  return *cache;
}

std::string CodeCache::path(const std::string& key) const {
  char name[17];
  std::snprintf(name, sizeof(name), "%016llx", static_cast<unsigned long long>(hash_bytes(key.data(), key.size())));
  return folder_ + "/" + name + kSuffix;
}

void CodeCache::complain(const std::string& what) {
  if (std::exchange(complained_, true)) return;
  std::fprintf(stderr, "weft: compiled kernels are not kept: %s; set WEFT_CACHE_DIR to a folder of your own\n",
               what.c_str());
}

bool CodeCache::find(const std::string& key, CompiledKernel& out) {
  if (folder_.empty()) return false;
  const std::string at = path(key);
  const File file(::open(at.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat s {};
  Head head{};
  if (file.number() < 0 || fstat(file.number(), &s) != 0 || !S_ISREG(s.st_mode) || !private_to_us(s)) return false;
  if (!read_all(file.number(), reinterpret_cast<char*>(&head), sizeof(head)) ||
      std::memcmp(head.magic, kMagic, sizeof(kMagic)) != 0)
    return false;
  const uint64_t left = uint64_t(s.st_size) - sizeof(head);
  if (head.key != key.size() || head.name > left || head.image > left || head.key + head.name + head.image != left)
    return false;
  std::string all(left, '\0');
  if (!read_all(file.number(), all.data(), all.size()) || hash_bytes(all.data(), all.size()) != head.checksum ||
      all.compare(0, key.size(), key) != 0)
    return false;
  out.name = all.substr(head.key, head.name);
  out.image = all.substr(head.key + head.name);
  futimens(file.number(), nullptr);  // used now: trim() takes others first
  return true;
}

bool CodeCache::make_folder() {
  for (size_t slash = folder_.find('/', 1);; slash = folder_.find('/', slash + 1)) {
    const std::string part = folder_.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      complain(part + ": " + std::strerror(errno));
      return false;
    }
    if (slash == std::string::npos) break;
  }
  struct stat s {};
  if (::stat(folder_.c_str(), &s) != 0 || !S_ISDIR(s.st_mode) || !private_to_us(s)) {
    complain(folder_ + " is no folder that only this user may write");
    return false;
  }
  return true;
}

void CodeCache::store(const std::string& key, const CompiledKernel& kernel) {
  if (folder_.empty() || !make_folder()) return;
  const std::string all = key + kernel.name + kernel.image;
  Head head{{}, key.size(), kernel.name.size(), kernel.image.size(), hash_bytes(all.data(), all.size())};
  std::memcpy(head.magic, kMagic, sizeof(kMagic));
  static std::atomic<unsigned> number{0};
  const std::string part = path(key) + "." + std::to_string(getpid()) + "." + std::to_string(++number) + kUnfinished;
  File file(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  // Another process sees the whole file or none.
  if (file.number() < 0 || !write_all(file.number(), reinterpret_cast<const char*>(&head), sizeof(head)) ||
      !write_all(file.number(), all.data(), all.size()) || !file.close() ||
      ::rename(part.c_str(), path(key).c_str()) != 0) {
    complain(part + ": " + std::strerror(errno));
    ::unlink(part.c_str());
    return;
  }
  trim();
}

void CodeCache::trim() {
  struct Entry {
    timespec used;
    uint64_t bytes;
    std::string path;
  };
  std::vector<Entry> entries;
  uint64_t total = 0;
  DIR* folder = ::opendir(folder_.c_str());
  if (!folder) return;
  const time_t now = ::time(nullptr);
  while (const dirent* e = ::readdir(folder)) {
    const std::string name = e->d_name, at = folder_ + "/" + name;
    struct stat s {};
    if ((!name.ends_with(kSuffix) && !name.ends_with(kUnfinished)) || ::lstat(at.c_str(), &s) != 0) continue;
    if (name.ends_with(kUnfinished)) {  // of a process that was ended
      if (s.st_mtime + 3600 < now) ::unlink(at.c_str());
      continue;
    }
    total += uint64_t(s.st_size);
    entries.push_back({s.st_mtim, uint64_t(s.st_size), at});
  }
  ::closedir(folder);
  if (total <= limit_) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec < b.used.tv_sec : a.used.tv_nsec < b.used.tv_nsec;
  });
  for (size_t i = 0; i < entries.size() && total > limit_ / 4 * 3; ++i)
    if (::unlink(entries[i].path.c_str()) == 0) total -= entries[i].bytes;
}

}  // namespace weft::detail
