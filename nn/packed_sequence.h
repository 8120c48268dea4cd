#pragma once
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/scalar.h"
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

// torch.nn.utils.rnn
namespace utils::rnn {

struct PadSequenceOptions {
  bool batch_first = false;
  Scalar padding_value = 0.0;
  std::string_view padding_side = "right";  ///< or "left"
};
/// Sequences [T_i, ...] -> [T, N, ...] (batch_first: [N, T, ...]), T the largest length.
Tensor pad_sequence(const std::vector<Tensor>& sequences, const PadSequenceOptions& o = {});

struct PackOptions {
  bool batch_first = false;
  bool enforce_sorted = true;  ///< lengths that grow are an error; false: the sequences are sorted by length
};
/// From x [T, N, ...] and the length of each of the N sequences, 1 to T.
PackedSequence pack_padded_sequence(const Tensor& x, const std::vector<int64_t>& lengths, const PackOptions& o = {});
/// From N sequences [T_i, ...].
PackedSequence pack_sequence(const std::vector<Tensor>& sequences, bool enforce_sorted = true);

struct UnpackOptions {
  bool batch_first = false;
  Scalar padding_value = 0.0;
  std::optional<int64_t> total_length = {};  ///< T, where more than the longest sequence is wanted
};
/// The padded sequences and their lengths [N], in the order from before the packing.
std::pair<Tensor, Tensor> pad_packed_sequence(const PackedSequence& p, const UnpackOptions& o = {});

}  // namespace utils::rnn
}  // namespace weft::nn
