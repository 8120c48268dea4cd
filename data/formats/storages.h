#pragma once
#include <unordered_map>
#include <vector>

#include "core/tensor.h"

namespace weft::formats {

/// The storages of tensors, numbered 0, 1, ... in the order in which they are met: files hold whole storages, each
/// once, so that tensors that share memory share it again when they come back.
class Storages {
 public:
  /// The number of t's storage. `op` is for errors: an undefined tensor, a storage met under two dtypes.
  size_t add(const Tensor& t, const char* op);
  /// Each whole storage as a 1-dim tensor without history.
  const std::vector<Tensor>& flat() const { return flat_; }

 private:
  std::vector<Tensor> flat_;
  std::unordered_map<const void*, size_t> numbers_;
};

}  // namespace weft::formats
