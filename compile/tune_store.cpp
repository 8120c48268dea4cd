#include "compile/tune_store.h"

#include <exception>
#include <locale>
#include <mutex>
#include <sstream>

#include "compile/toolchain.h"
#include "core/code_cache.h"

namespace weft::graph {
namespace {

constexpr const char* kName = "tuning 1";  // the form of what is kept
constexpr int64_t kMost = int64_t{1} << 40;

// One folder at a time, by one thread at a time.
template <class F>
void with_cache(F f) {
  static std::mutex mutex;
  static std::string folder;
  static detail::CodeCache* cache = nullptr;
  std::lock_guard lock(mutex);
  if (std::string now = detail::CodeCache::standard_folder(); !cache || now != folder) {
    delete cache;
    folder = now;
    cache = new detail::CodeCache(std::move(now));
  }
  f(*cache);
}

}  // namespace

std::string tuning_key() {
  static const std::string key = std::string(kName) + "\nweft " + WEFT_VERSION + "\n" + cpu_facts();
  return key;
}

std::optional<std::vector<Tuned>> find_tuned(const std::string& key, size_t count) {
  detail::CompiledKernel kept;
  bool found = false;
  with_cache([&](detail::CodeCache& cache) { found = cache.find(key, kept); });
  if (!found || kept.name != kName) return std::nullopt;
  std::vector<Tuned> all;
  std::istringstream in(kept.image);
  in.imbue(std::locale::classic());
  for (Tuned t; in >> t.choice.cut.tile >> t.choice.cut.grain >> t.choice.cut.block >> t.choice.records >> t.was >>
                t.now >> t.other;
       all.push_back(t)) {
    const cpu::FusedCut& c = t.choice.cut;
    for (int64_t n : {c.tile, c.grain, c.block})
      if (n < 0 || n > kMost) return std::nullopt;
  }
  if (!in.eof() || all.size() != count) return std::nullopt;
  return all;
}

void keep_tuned(const std::string& key, const std::vector<Tuned>& tuned) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  for (const Tuned& t : tuned) {
    const cpu::FusedCut& c = t.choice.cut;
    out << c.tile << ' ' << c.grain << ' ' << c.block << ' ' << t.choice.records << ' ' << t.was << ' ' << t.now << ' '
        << t.other << '\n';
  }
  with_cache([&](detail::CodeCache& cache) { cache.store(key, {out.str(), kName}); });
}

}  // namespace weft::graph
