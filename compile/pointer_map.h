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
      used_ += e->key == nullptr;
      *e = {key, V()};
    }
    return e->value;
  }
  void erase(const void* key) {
    Entry* e = table_.empty() ? nullptr : locate(key);
    if (e && e->key == key) *e = {&gone_, V()};
  }
  void clear() {
    if (used_) table_.assign(table_.size(), Entry());
    used_ = 0;
  }
  template <class F>
  void for_each(F f) {
    for (Entry& e : table_)
      if (e.key && e.key != &gone_) f(e.value);
  }

 private:
  struct Entry {
    const void* key = nullptr;
    V value{};
  };
  // Where `key` is, or else where it would go: a place that was given up, or the free one that ends the search.
  Entry* locate(const void* key) {
    const size_t mask = table_.size() - 1;
    size_t i = (reinterpret_cast<uintptr_t>(key) / 64 * 0x9E3779B97F4A7C15ull >> 20) & mask;
    Entry* given_up = nullptr;
    for (; table_[i].key && table_[i].key != key; i = (i + 1) & mask)
      if (table_[i].key == &gone_ && !given_up) given_up = &table_[i];
    return table_[i].key || !given_up ? &table_[i] : given_up;
  }
  void grow() {
    size_t kept = 0;
    for_each([&](V&) { ++kept; });
    std::vector<Entry> old(kept * 4 < 64 ? 64 : table_.size() * (kept * 4 > table_.size() ? 2 : 1));
    old.swap(table_);
    used_ = 0;
    for (Entry& e : old)
      if (e.key && e.key != &gone_) {
        *locate(e.key) = std::move(e);
        ++used_;
      }
  }

  std::vector<Entry> table_;  ///< a power of two, at most half used
  size_t used_ = 0;           ///< places that are not free, given up ones included
  inline static const char gone_ = 0;
};

}  // namespace weft::graph
