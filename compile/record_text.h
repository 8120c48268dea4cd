#pragma once
#include <span>
#include <string>
#include <string_view>

#include "core/pointwise.h"

// The texts of the records of pointwise ops (core/ops/record.h), and of what they need, inside of the library:
// generated code is made of the very text that the kernels were compiled of.
namespace weft::graph {

struct SourceText {
  std::string_view name;  ///< of the file, from the root
  std::string_view text;
};
std::span<const SourceText> source_texts();

/// What every generated text begins with: the words of records and the elements of bf16 and f16. `transcendental`:
/// also the words whose texts are long.
const std::string& common_text(bool transcendental);

/// A record as generated code uses it.
struct RecordText {
  std::string_view name;  ///< of the struct in weft::ops
  std::string_view text;  ///< the struct
  enum class Weight : unsigned char {
    light,  ///< a few instructions: more is gained by keeping values in registers than a loop of its own costs
    heavy,  ///< one exponential, or the like: one of them fills the registers of a loop
    called  ///< more than a loop holds, or nothing that vectorises: runs by the op's own loop
  };
  Weight forward = Weight::called, backward[3] = {Weight::called, Weight::called, Weight::called};
  /// `which`: -1 forward, else the gradient of that input.
  Weight weight(int which) const { return which < 0 ? forward : backward[which]; }
};
/// Null: not an op of core/ops/pointwise.def.
const RecordText* record_text(const PointwiseInfo* info);
/// "forward", "backward", "backward_a" ..
std::string_view function_name(const PointwiseInfo& info, int which);

}  // namespace weft::graph
