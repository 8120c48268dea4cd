#pragma once

#include "core/ops/norm.h"
#include "kernels/cuda/pairs.cuh"
#include "kernels/cuda/rows.cuh"

// What the two directions of normalize_rows share.
namespace weft::gpu {

/// Weight or bias: null, of the type of x, or of its compute type.
struct NormParameter {
  const void* values;
  bool wide;
};

/// Holds the tensor behind a NormParameter of a call.
struct NormParameterOf {
  Tensor held;
  NormParameter value{nullptr, false};
  NormParameterOf(const Tensor& t, DType of_x) {
    if (!t.defined()) return;
    const DType wide = of_x == DType::f64 ? DType::f64 : DType::f32;
    held = dense_as(t, t.dtype() == of_x ? of_x : wide);
    value = {held.impl()->data, held.dtype() != of_x};
  }
  bool aligned() const { return aligned16(value.values); }
};

/// Which value of a parameter element i of a row takes, see NormAttrs: base(row) + within(i).
struct NormIndex {
  i64 span, per_row, cycle;
  Divider by_span;
  bool simple, small;  // element i takes value i; i fits the divider
  explicit NormIndex(const NormAttrs& a)
      : span(a.span),
        per_row(a.per_row()),
        cycle(a.cycle),
        simple(a.span == 1 && a.cycle == 1),
        small(a.n < 1ll << 31) {
    if (small && a.span) by_span = Divider(u32(a.span));
  }
  WEFT_FN i64 base(i64 row) const { return simple ? 0 : row % cycle * per_row; }
  WEFT_FN i64 within(int i) const { return by_span.quotient(u32(i)); }
  WEFT_FN i64 within(i64 i) const { return small ? within(int(i)) : i / span; }
};

template <class S>
WEFT_FN Wide<S> parameter_at(const NormParameter& p, i64 i) {
  return p.wide ? static_cast<const Wide<S>*>(p.values)[i] : load(static_cast<const S*>(p.values)[i]);
}
/// The values of `Width` neighbouring elements. Simple: index.simple, known where the kernel is compiled, so that the
/// unrolled loops stay short.
template <class S, bool Simple, int Width>
WEFT_FN void parameters_at(const NormParameter& p, const NormIndex& index, i64 base, int i, Wide<S> (&to)[Width]) {
  using T = Wide<S>;
  if constexpr (!Simple) {
    for (int k = 0; k < Width; ++k) to[k] = parameter_at<S>(p, base + index.within(i + k));
  } else if (is_half_type<S> && p.wide) {
    const auto few = *reinterpret_cast<const Few<T, Width>*>(static_cast<const T*>(p.values) + i);
    for (int k = 0; k < Width; ++k) to[k] = few.v[k];
  } else {
    const auto few = *reinterpret_cast<const Packed<S, Width>*>(static_cast<const S*>(p.values) + i);
    for (int k = 0; k < Width; ++k) to[k] = load(few.get(k));
  }
}

/// Sums over the rows of `partial` [chunks, columns], in the order of core/reduction_order.h without cuts; the first
/// half goes to `low`, the second to `high`, each where defined.
void sum_chunks(const void* partial, DType dtype, i64 chunks, i64 columns, const Tensor& low, const Tensor& high);

}  // namespace weft::gpu
