#pragma once
#include <cstdint>

#include "tools/weft/models.h"

namespace weft::models {

struct GenerateOptions {
  int64_t length = 1000;     ///< symbols to add, at least 1
  double temperature = 0.5;  ///< symbols are drawn by softmax(logits / temperature); 0: the likeliest
  int64_t top_k = 0;         ///< only among the k likeliest; 0: all
  uint64_t seed = 1;         ///< of the draws: the one of symbol i of sequence b depends on (seed, b, i)
  bool cache = true;         ///< keep keys and values instead of computing them for every symbol
};

/// What a model writes behind prompts [B, T], T >= 1: [B, length], i64, on the prompts' device.
///
/// A model sees at most `block` symbols, at positions counted from the first that it sees. Where that many are there,
/// the newer half (block / 2, at least one) becomes the start of a new window, computed once as a whole; so a symbol is
/// drawn by the block / 2 to `block` symbols before it. `cache` changes the cost, not the windows.
/// weft::Error for a prompt of another form or symbols outside the vocabulary, and for options out of their range.
Tensor generate(Gpt& model, const Tensor& prompts, const GenerateOptions& o = {});

}  // namespace weft::models
