#include "nn/key_value_cache.h"

#include "core/error.h"
#include "core/ops/attention.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/range.h"
#include "core/ops/view.h"
#include "core/thread_state.h"

namespace weft::nn {
namespace {

constexpr const char* kName = "KeyValueCache";

// Room for `capacity` positions like those of t; of use in and outside InferenceMode.
Tensor room_for(const Tensor& t, int64_t capacity) {
  const InferenceMode off(false);
  return empty({t.size(0), t.size(1), capacity, t.size(3)}, {.dtype = t.dtype(), .device = t.device()});
}

bool fits(const Tensor& t, const Tensor& room) {
  return t.size(0) == room.size(0) && t.size(1) == room.size(1) && t.size(3) == room.size(3) &&
         t.dtype() == room.dtype() && t.device() == room.device();
}

}  // namespace

KeyValueCache::KeyValueCache(int64_t capacity) : capacity_(capacity) {
  WEFT_CHECK(capacity >= 1, "{}: needs room for at least one position, got a capacity of {}", kName, capacity);
}

KeyValueCache::KeyValueCache(const KeyValueCache& other) : capacity_(other.capacity_), size_(other.size_) {
  if (!other.keys_.defined()) return;
  const InferenceMode off(false);
  keys_ = other.keys_.clone();
  values_ = other.values_.clone();
}

KeyValueCache::KeyValueCache(KeyValueCache&& other) noexcept
    : capacity_(other.capacity_),
      size_(std::exchange(other.size_, 0)),
      keys_(std::move(other.keys_)),
      values_(std::move(other.values_)) {}

KeyValueCache& KeyValueCache::operator=(KeyValueCache other) noexcept {
  std::swap(capacity_, other.capacity_);
  std::swap(size_, other.size_);
  std::swap(keys_, other.keys_);
  std::swap(values_, other.values_);
  return *this;
}

void KeyValueCache::check(const Tensor& k, const Tensor& v) const {
  WEFT_CHECK(k.defined() && v.defined(), "{}: an operand is an undefined tensor", kName);
  WEFT_CHECK(k.dim() == 4 && v.dim() == 4, "{}: needs keys and values [batch, heads, time, width], got {} and {}",
             kName, k, v);
  for (int d = 0; d < 3; ++d)
    WEFT_CHECK(k.size(d) == v.size(d), "{}: keys {} and values {} differ in {}", kName, k, v,
               d == 0   ? "batch"
               : d == 1 ? "heads"
                        : "time");
  WEFT_CHECK_TYPE(k.dtype() == v.dtype(), "{}: keys and values need one dtype, got {} and {}", kName, k, v);
  WEFT_CHECK(!is_grad_enabled() || !(k.requires_grad() || v.requires_grad()),
             "{}: keys and values that need gradients cannot be kept; use NoGrad or InferenceMode", kName);
  if (keys_.defined())
    WEFT_CHECK(fits(k, keys_) && fits(v, values_),
               "{}: keys {} and values {} do not continue those of {} and {}; reset() begins anew", kName, k, v, keys_,
               values_);
  WEFT_CHECK(k.size(2) <= capacity_ - size_, "{}: {} more positions do not fit, {} of {} are taken", kName, k.size(2),
             size_, capacity_);
}

std::pair<Tensor, Tensor> KeyValueCache::update(const Tensor& k, const Tensor& v) {
  check(k, v);
  if (!keys_.defined()) {
    Tensor keys = room_for(k, capacity_);
    values_ = room_for(v, capacity_);
    keys_ = std::move(keys);
  }
  const int64_t time = k.size(2);
  narrow(keys_, 2, size_, time).copy_(k);
  narrow(values_, 2, size_, time).copy_(v);
  size_ += time;
  return {narrow(keys_, 2, 0, size_), narrow(values_, 2, 0, size_)};
}

Tensor KeyValueCache::attend(const Tensor& q, const Tensor& k, const Tensor& v, const CachedAttentionOptions& o) {
  WEFT_CHECK(q.defined() && q.dim() == 4 && k.defined() && k.dim() == 4 && q.size(2) == k.size(2),
             "{}: needs queries and keys [batch, heads, time, width] of the same positions, got {} and {}", kName, q,
             k);
  const int64_t before = size_, time = q.size(2);
  const auto [keys, values] = update(k, v);
  try {
    AttentionOptions attention{.scale = o.scale, .enable_gqa = o.enable_gqa};
    if (before == 0) {
      attention.is_causal = true;
    } else if (time > 1) {
      const TensorOptions here{.device = q.device()};
      attention.attn_mask = le(arange(0, size_, 1, here), arange(before, size_, 1, here).unsqueeze(1));
    }
    return scaled_dot_product_attention(q, keys, values, attention);
  } catch (...) {
    size_ = before;
    throw;
  }
}

void KeyValueCache::truncate(int64_t size) {
  WEFT_CHECK(size >= 0 && size <= size_, "{}: cannot be cut to {} positions, it has {}", kName, size, size_);
  size_ = size;
}

void KeyValueCache::reset() {
  size_ = 0;
  keys_ = values_ = Tensor();
}

}  // namespace weft::nn
