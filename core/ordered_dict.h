#pragma once
#include <functional>
#include <initializer_list>
#include <unordered_map>
#include <utility>
#include <vector>

namespace weft {

/// A map that keeps the order of first insertion, as Python's dict does. Iterating gives pair<key, value>; lookups take
/// constant time. Do not change a key through the iterator.
template <class Key, class T, class Hash = std::hash<Key>>
class OrderedDict {
 public:
  using Item = std::pair<Key, T>;

  OrderedDict() = default;
  OrderedDict(std::initializer_list<Item> items);

  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }
  const std::vector<Item>& items() const { return items_; }

  /// The value under `key`, or null.
  const T* find(const Key& key) const {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &items_[found->second].second;
  }
  T* find(const Key& key) { return const_cast<T*>(std::as_const(*this).find(key)); }
  bool contains(const Key& key) const { return find(key) != nullptr; }

  /// Replaces the value under `key`, or appends the pair.
  void set(const Key& key, T value);
  /// The value under `key`, a default one being appended if there is none.
  T& operator[](const Key& key);
  /// Removes `key`; whether it was there. Takes time proportional to the size.
  bool erase(const Key& key);
  void clear() {
    items_.clear();
    index_.clear();
  }

  friend bool operator==(const OrderedDict& a, const OrderedDict& b) { return a.items_ == b.items_; }

 private:
  std::vector<Item> items_;
  std::unordered_map<Key, size_t, Hash> index_;
};

// Outside of the class, not inline: `extern template` keeps them out of other files.
template <class Key, class T, class Hash>
OrderedDict<Key, T, Hash>::OrderedDict(std::initializer_list<Item> items) {
  for (const Item& item : items) set(item.first, item.second);
}
template <class Key, class T, class Hash>
void OrderedDict<Key, T, Hash>::set(const Key& key, T value) {
  const auto [found, added] = index_.try_emplace(key, items_.size());
  if (added)
    items_.emplace_back(key, std::move(value));
  else
    items_[found->second].second = std::move(value);
}
template <class Key, class T, class Hash>
T& OrderedDict<Key, T, Hash>::operator[](const Key& key) {
  const auto [found, added] = index_.try_emplace(key, items_.size());
  if (added) items_.emplace_back(key, T());
  return items_[found->second].second;
}
template <class Key, class T, class Hash>
bool OrderedDict<Key, T, Hash>::erase(const Key& key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return false;
  const size_t at = found->second;
  items_.erase(items_.begin() + static_cast<std::ptrdiff_t>(at));
  index_.erase(found);
  for (auto& [name, position] : index_) position -= position > at;
  return true;
}

}  // namespace weft
