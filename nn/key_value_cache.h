#pragma once
#include <cstdint>
#include <optional>
#include <utility>

#include "core/tensor.h"

namespace weft::nn {

struct CachedAttentionOptions {
  std::optional<double> scale = {};  ///< default 1 / sqrt(d)
  bool enable_gqa = false;           ///< q may have a multiple of the heads of k and v
};

/// The keys and values that one causal attention has seen, so that generating text computes the new positions only:
/// one cache for each attention of a model, all sequences of a batch equally long.
///
///     InferenceMode guard;
///     nn::KeyValueCache cache(1024);
///     y = cache.attend(q, k, v);  // of the prompt [batch, heads, time, d]; then of one position after another
///
/// Memory for `capacity` positions is taken at the first use, of the dtype and on the device of what comes then. A copy
/// of a cache is independent of it. Nothing here has gradients: keys and values that need them are an error.
class KeyValueCache {
 public:
  /// weft::Error unless capacity >= 1.
  explicit KeyValueCache(int64_t capacity);
  KeyValueCache(const KeyValueCache& other);
  KeyValueCache(KeyValueCache&& other) noexcept;  ///< `other` is empty then
  KeyValueCache& operator=(KeyValueCache other) noexcept;
  ~KeyValueCache() = default;

  int64_t size() const { return size_; }  ///< positions it holds
  int64_t capacity() const { return capacity_; }

  /// Appends k [batch, heads, time, d] and v [batch, heads, time, dv]; returns all keys and all values: views of the
  /// cache [batch, heads, size(), ...], whose content stays until reset() or truncate(). weft::Error, and nothing is
  /// taken, where they do not fit behind what is there, or differ from it in batch, heads, width, dtype or device.
  std::pair<Tensor, Tensor> update(const Tensor& k, const Tensor& v);

  /// update(k, v), then the causal attention of the new positions: row i of q [batch, heads, time, d] sees what was
  /// there and the new keys j <= i (scaled_dot_product_attention of the whole sequence, its last rows).
  Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const CachedAttentionOptions& o = {});

  /// Forgets all positions but the first `size`; weft::Error unless 0 <= size <= size().
  void truncate(int64_t size);
  /// Forgets everything; what comes next may have another batch, dtype or device.
  void reset();

 private:
  void check(const Tensor& k, const Tensor& v) const;

  int64_t capacity_, size_ = 0;
  Tensor keys_, values_;  ///< [batch, heads, capacity, width]
};

}  // namespace weft::nn
