#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace weft::graph {

/// Pointers to values: open addressing in memory that stays, for a few thousand look-ups a millisecond.
template <class V>
class PointerMap {
 public:
  V* find(const void* key) {
    Entry* e = table_.empty() ? nullptr : locate(key);
    return e && e->key == key ? &e->value : nullptr;
  }
  /// The value of `key`, a new one if there is none. Holds until the next call of this.
  V& operator[](const void* key) {
    if (2 * (used_ + 1) > table_.size()) grow();
    Entry* e = locate(key);
    if (e->key != key) {
      ++used_;
      *e = {key, V()};
    }
    return e->value;
  }
  // Entries after it move up, so that a search still ends at the first free place and none are ever given up.
  void erase(const void* key) {
    Entry* e = table_.empty() ? nullptr : locate(key);
    if (!e || e->key != key) return;
    const size_t mask = table_.size() - 1;
    size_t hole = static_cast<size_t>(e - table_.data());
    for (size_t i = (hole + 1) & mask; table_[i].key; i = (i + 1) & mask)
      if (((i - home(table_[i].key)) & mask) >= ((i - hole) & mask)) {
        table_[hole] = std::move(table_[i]);
        hole = i;
      }
    table_[hole] = Entry();
    --used_;
  }
  void clear() {
    if (used_) table_.assign(table_.size(), Entry());
    used_ = 0;
  }
  template <class F>
  void for_each(F f) {
    for (Entry& e : table_)
      if (e.key) f(e.value);
  }

 private:
  struct Entry {
    const void* key = nullptr;
    V value{};
  };
  static size_t home(const void* key) { return reinterpret_cast<uintptr_t>(key) / 64 * 0x9E3779B97F4A7C15ull >> 20; }
  // Where `key` is, or the free place that ends the search.
  Entry* locate(const void* key) {
    const size_t mask = table_.size() - 1;
    size_t i = home(key) & mask;
    while (table_[i].key && table_[i].key != key) i = (i + 1) & mask;
    return &table_[i];
  }
  void grow() {
    std::vector<Entry> old(table_.empty() ? 64 : 2 * table_.size());
    old.swap(table_);
    for (Entry& e : old)
      if (e.key) *locate(e.key) = std::move(e);
  }

  std::vector<Entry> table_;  ///< a power of two, at most half used
  size_t used_ = 0;           ///< places that are not free
};

}  // namespace weft::graph
