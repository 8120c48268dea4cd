#pragma once
// What all reductions share: which elements go into which result, and how they get into the accumulator's type.
#include <cstdint>

#include "core/tensor.h"
#include "kernels/cpu/convert.h"

namespace weft::cpu {

/// What is done to an element before it is combined.
enum class Prepare : uint8_t {
  none,
  truth,           ///< 0 or 1
  absolute,        ///< |x|
  square,          ///< x^2
  power,           ///< |x|^exponent
  centred_square,  ///< (x - centre)^2
  centred_exp,     ///< exp(x - centre)
};
enum class Combining : uint8_t { sum, product, max, min };

/// Result k combines the `n` elements at base + kept offset(k) + reduced offset(i); both counted in the logical order
/// of the dimensions, whatever the layout.
struct ReducePlan {
  Dims kept_sizes, kept_strides;  ///< merged where memory allows; at least one dimension each
  Dims reduced_sizes, reduced_strides;
  int64_t results = 1, n = 1;
  const char* base;
  DType dtype, acc;
  int64_t item;
  Prepare prepare;
  double exponent = 1;
  const void* centre = nullptr;  ///< one value of type acc per result

  /// acc: f32, f64 or i64.
  ReducePlan(const Tensor& x, unsigned mask, DType acc, Prepare prepare = Prepare::none);

  /// Elements need no conversion.
  bool plain() const { return dtype == acc && prepare == Prepare::none; }
  /// The elements of a result lie side by side.
  bool rows_direct() const { return plain() && reduced_sizes.size() == 1 && (reduced_strides[0] == 1 || n == 1); }
  /// Results are neighbours in memory and elements are not: column by column is the better way.
  bool by_columns() const {
    return kept_strides.back() == 1 && kept_sizes.back() > 1 && !(reduced_strides.back() == 1 && n > 1);
  }
  /// Elements first ... first + count - 1 (in the order of reduction) of a result, prepared, as acc.
  void gather(void* to, int64_t result, int64_t first, int64_t count) const;
  /// Element i of `columns` neighbouring results, prepared, as acc.
  void gather_row(void* to, int64_t result, int64_t i, int64_t columns) const;
  /// Distance of a result's first element from base, in elements.
  int64_t place(int64_t result) const;

 private:
  void take(char* to, const char* from, int64_t stride, int64_t count) const;
};

/// to[k] (type acc) = combination of result k, in the order of core/reduction_order.h. n > 0.
void reduce_into(const ReducePlan& plan, Combining how, void* to);

inline DType accumulator(DType t) { return t == DType::f64 ? DType::f64 : is_floating(t) ? DType::f32 : DType::i64; }

}  // namespace weft::cpu
