#pragma once
#include "core/tensor.h"

namespace weft::nn {

/// Sequences of different lengths without padding (torch.nn.utils.rnn.PackedSequence): data [rows, ...] holds the first
/// step of all sequences, then the second of those that have one, ...
struct PackedSequence {
  Tensor data;
  Tensor batch_sizes;            ///< sequences that have step t: [T], i64
  Tensor sorted_indices = {};    ///< of the longest sequence, the next, ...; undefined: they came in that order
  Tensor unsorted_indices = {};  ///< the way back
};

}  // namespace weft::nn
