#include "data/formats/storages.h"

#include "core/error.h"

namespace weft::formats {

size_t Storages::add(const Tensor& t, const char* op) {
  WEFT_CHECK(t.defined(), "{}: an undefined tensor; leave it out or use none", op);
  const auto bytes = static_cast<int64_t>(t.impl()->storage ? t.impl()->storage->bytes : 0);
  const void* identity = bytes ? static_cast<const void*>(t.impl()->storage) : t.impl();
  const auto [found, added] = numbers_.try_emplace(identity, flat_.size());
  if (added) flat_.push_back(detail::alias(t, {bytes / static_cast<int64_t>(itemsize(t.dtype()))}, {1}, 0));
  const Tensor& flat = flat_[found->second];
  WEFT_CHECK(flat.dtype() == t.dtype(), "{}: tensors of {} and {} share one storage; clone one of them", op, t.dtype(),
             flat.dtype());
  return found->second;
}

}  // namespace weft::formats
