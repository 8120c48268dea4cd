#pragma once
#include "core/value.h"
#include "nn/packed_sequence.h"

namespace weft::nn {
/// Adds torch.nn.init and torch.nn.utils to the ops that weft::call knows ("nn.init.normal_",
/// "nn.utils.get_total_norm").
void register_schemas();
/// A PackedSequence among generic values: {packed_sequence: {data, batch_sizes, sorted_indices, unsorted_indices}}.
PackedSequence packed_of(const Value& v);
Value value_of(const PackedSequence& p);
}  // namespace weft::nn
