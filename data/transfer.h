#pragma once
#include <optional>

#include "core/value.h"

namespace weft {

struct TransferOptions {
  std::optional<Device> device = {};
  std::optional<DType> dtype = {};  ///< of floating tensors; others keep theirs
};

/// A value whose tensors lie on another device or have another dtype. What needs no change is shared with `value`;
/// tensors that share memory still do. Tensors have no history, and their requires_grad.
/// weft::Error for an undefined tensor, for a dtype that is not floating, and for tensors of two dtypes over one
/// storage.
Value transfer(const Value& value, const TransferOptions& o);

/// A copy of a value on the CPU that nothing can change any more: what an asynchronous save writes. Tensors that share
/// memory still do; devices are waited for. Errors as transfer().
Value snapshot(const Value& value);

}  // namespace weft
