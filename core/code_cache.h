#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace weft::detail {

/// What a compiler made while the program ran: code that the driver or the loader takes, and the name of a kernel in
/// it.
struct CompiledKernel {
  std::string image, name;
};

/// Compiled kernels in a folder of this user's, one file each. Only files that belong to this user, that nobody else
/// may write and whose checksum and key are right are believed; others count as missing. A folder that cannot be used
/// costs compilations, and is named on stderr once. One thread at a time.
class CodeCache {
 public:
  /// `folder` is made when something is first stored; "": nothing is kept.
  explicit CodeCache(std::string folder, uint64_t limit = uint64_t{64} << 20)
      : folder_(std::move(folder)), limit_(limit) {}
  /// WEFT_CACHE_DIR, else $XDG_CACHE_HOME/weft, else ~/.cache/weft; "" without a home.
  static std::string standard_folder();
  /// In that folder.
  static CodeCache& standard();

  /// `key`: everything that the code depends on.
  bool find(const std::string& key, CompiledKernel& out);
  /// Files used longest ago go first, when all together exceed the limit.
  void store(const std::string& key, const CompiledKernel& kernel);
  /// Where `key` is kept.
  std::string path(const std::string& key) const;

 private:
  bool make_folder();
  void trim();
  void complain(const std::string& what);

  std::string folder_;
  uint64_t limit_;
  bool complained_ = false;
};

/// FNV-1a.
uint64_t hash_bytes(const char* data, size_t bytes, uint64_t from = 0xcbf29ce484222325ull);

}  // namespace weft::detail
