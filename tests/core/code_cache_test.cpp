// Compiled kernels on disk.
#include "core/code_cache.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/catch.h"
#include "tests/folder.h"

namespace weft::detail {
namespace {

TEST_CASE("the folder of compiled kernels: private, checked, bounded, and optional") {
  const test::TemporaryFolder folder;
  const std::string home = folder.file("a/b");
  CodeCache cache(home, 4000);
  const CompiledKernel kernel{std::string("\0code\1", 6), "name"};
  CompiledKernel found;
  CHECK(!cache.find("key", found));
  cache.store("key", kernel);
  REQUIRE(cache.find("key", found));
  CHECK(found.image == kernel.image);
  CHECK(found.name == kernel.name);
  CHECK(!cache.find("other key", found));
  struct stat s {};
  REQUIRE(stat(home.c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0700);
  REQUIRE(stat(cache.path("key").c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0600);

  // What others may write is not believed, nor what was damaged or cut; a store puts it right.
  chmod(cache.path("key").c_str(), 0622);
  CHECK(!cache.find("key", found));
  chmod(cache.path("key").c_str(), 0600);
  CHECK(cache.find("key", found));
  {
    std::fstream file(cache.path("key"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('x');
  }
  CHECK(!cache.find("key", found));
  cache.store("key", kernel);
  CHECK(cache.find("key", found));
  std::filesystem::resize_file(cache.path("key"), 20);
  CHECK(!cache.find("key", found));
  std::filesystem::remove(cache.path("key"));
  std::filesystem::create_symlink("/etc/hostname", cache.path("key"));
  CHECK(!cache.find("key", found));

  // The oldest go first.
  for (int i = 0; i < 8; ++i) cache.store("kernel " + std::to_string(i), {std::string(800, 'c'), "name"});
  uint64_t total = 0;
  for (const auto& entry : std::filesystem::directory_iterator(home))
    if (!entry.is_symlink()) total += entry.file_size();
  CHECK(total <= 4000);
  CHECK(cache.find("kernel 7", found));
  CHECK(!cache.find("kernel 0", found));

  CodeCache none(""), refused("/proc/weft");
  none.store("key", kernel);
  CHECK(!none.find("key", found));
  refused.store("key", kernel);
  CHECK(!refused.find("key", found));
}

}  // namespace
}  // namespace weft::detail
