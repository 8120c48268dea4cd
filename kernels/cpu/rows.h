#pragma once
// Kernels that work on whole rows along one dimension, whatever lies behind it and whatever the dtype.
#include <algorithm>

#include "core/ops/copy.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "core/thread_state.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/stream.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu {

/// Asks for the row after x, while this one computes.
template <class T>
inline void prefetch_next_row(const T* x, int64_t n) {
  prefetch(x + n, std::min<int64_t>(n * static_cast<int64_t>(sizeof(T)), 8192));
}

/// A contiguous tensor around one of its dimensions.
struct RowShape {
  int64_t outer = 1, n = 1, inner = 1;
  RowShape(int64_t rows, int64_t length) : outer(rows), n(length) {}
  RowShape(const Dims& sizes, int64_t dim) {
    for (int d = 0; d < sizes.size(); ++d) (d < dim ? outer : d == dim ? n : inner) *= sizes[d];
  }
};

inline Tensor dense(const Tensor& t) {
  if (!t.defined() || t.impl()->contiguous) return t;
  NoGrad guard;
  return t.contiguous();
}

template <class T>
inline constexpr DType dtype_of = std::is_same_v<T, float> ? DType::f32 : DType::f64;

/// Calls f(in, out, n, row) for rows: in[k] the row of in[k], out where the result goes, both n values of type T side
/// by side. Inputs and out are contiguous, of the shape `s` and of any dtype; an undefined out leaves `out` as working
/// memory. Rows that need no staging are handed out in place. This one is for a thread and its tiles [begin, end) of
/// `wide` neighbouring rows (of one row each where the rows are contiguous).
template <class T, size_t N, class F>
void some_rows(const RowShape& s, const Tensor (&in)[N], const Tensor& out, int64_t wide, int64_t begin, int64_t end,
               F& f) {
  const int64_t n = s.n, tiles = (s.inner + wide - 1) / wide;
  auto at = [](const Tensor& t, int64_t i) {
    return static_cast<char*>(t.data_ptr()) + i * static_cast<int64_t>(itemsize(t.dtype()));
  };
  int64_t bytes = out.defined() ? static_cast<int64_t>(out.nbytes()) : 0;
  for (const Tensor& t : in) bytes += static_cast<int64_t>(t.nbytes());
  const bool past_caches = out.defined() && out.dtype() == dtype_of<T> && s.inner == 1 && streams(bytes);
  T* staged = scratch<T>(Scratch::rows, static_cast<int64_t>(N + 1) * wide * n);
  T* result = staged + static_cast<int64_t>(N) * wide * n;
  for (int64_t u = begin; u < end; ++u) {
    const int64_t column = u % tiles * wide, first = u / tiles * n * s.inner + column,
                  count = std::min(wide, s.inner - column);
    const T* rows[N];
    for (size_t k = 0; k < N; ++k) {
      T* to = staged + static_cast<int64_t>(k) * wide * n;
      rows[k] = to;
      if (in[k].dtype() == dtype_of<T> && s.inner == 1) {
        rows[k] = reinterpret_cast<const T*>(at(in[k], first));
      } else if (in[k].dtype() == dtype_of<T>) {
        transpose(reinterpret_cast<const T*>(at(in[k], first)), s.inner, to, n, n, count);
      } else {
        for (int64_t c = 0; c < count; ++c)
          converter(dtype_of<T>, in[k].dtype())(to + c * n, 1, at(in[k], first + c), s.inner, n);
      }
    }
    const bool writes = out.defined(), direct = writes && out.dtype() == dtype_of<T> && s.inner == 1 && !past_caches;
    T* y = direct ? reinterpret_cast<T*>(at(out, first)) : result;
    for (int64_t c = 0; c < count; ++c) {
      const T* row[N];
      for (size_t k = 0; k < N; ++k) row[k] = rows[k] + c * n;
      f(row, y + c * n, n, u / tiles * s.inner + column + c);
    }
    if (direct || !writes) continue;
    if (past_caches)
      stream(at(out, first), result, n * static_cast<int64_t>(sizeof(T)));
    else if (out.dtype() == dtype_of<T>)
      transpose(result, n, reinterpret_cast<T*>(at(out, first)), s.inner, count, n);
    else
      for (int64_t c = 0; c < count; ++c)
        converter(out.dtype(), dtype_of<T>)(at(out, first + c), s.inner, result + c * n, 1, n);
  }
  if (past_caches) streamed();
}

/// some_rows() for all rows, in parallel.
template <class T, size_t N, class F>
void each_row(const RowShape& s, const Tensor (&in)[N], const Tensor& out, F f) {
  if (s.outer * s.inner == 0 || s.n == 0) return;
  const int64_t wide = s.inner == 1 ? 1 : std::min<int64_t>(s.inner, s.n > 4096 ? 1 : 16),
                tiles = (s.inner + wide - 1) / wide;
  parallel_for(s.outer * tiles, std::max<int64_t>(1, grain_of(s.outer * s.inner * s.n, 16384) / (s.n * wide)),
               [&](int64_t begin, int64_t end) { some_rows<T>(s, in, out, wide, begin, end, f); });
}

}  // namespace weft::cpu
