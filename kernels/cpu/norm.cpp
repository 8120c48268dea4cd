#include "core/ops/norm.h"

#include <cmath>

#include "core/row_wise.h"
#include "kernels/cpu/reduce_block.h"
#include "kernels/cpu/rows.h"

namespace weft::cpu {
namespace {

// A parameter in the compute type; null when absent.
template <class T>
struct Parameter {
  Tensor held;
  const T* values = nullptr;
  explicit Parameter(const Tensor& t) {
    if (!t.defined()) return;
    NoGrad guard;
    held = dense(t.detach().to(dtype_of<T>));
    values = static_cast<const T*>(held.data_ptr());
  }
};

// Calls f(begin, end, value index) for the stretches of a row that share one value of weight and bias.
template <class F>
void stretches(const NormAttrs& a, int64_t row, F f) {
  const int64_t per_row = a.per_row(), first = row % a.cycle * per_row;
  for (int64_t k = 0; k < per_row; ++k) f(k * a.span, (k + 1) * a.span, first + k);
}

template <class T>
void forward(const OpCall& c) {
  const auto& a = c.as<NormAttrs>();
  const Tensor in[1] = {dense(c.in[0])};
  const Parameter<T> weight(c.in[1]), bias(c.in[2]);
  T* means = static_cast<T*>(c.out[1].data_ptr());
  T* scales = static_cast<T*>(c.out[2].data_ptr());
  const T *w = weight.values, *b = bias.values;
  const T count = static_cast<T>(a.n), eps = static_cast<T>(a.eps);
  each_row<T>(RowShape(a.rows, a.n), in, c.out[0], [=, &a](const T* const* rows, T* y, int64_t n, int64_t row) {
    const T* x = rows[0];
    T mean = 0;
    if (a.centred) mean = reduce_row<reduction::Sum<T>>(x, n) / count;
    prefetch_next_row(x, n);
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * (x[i] - mean);
    const T scale = T(1) / std::sqrt(reduce_row<reduction::Sum<T>>(y, n) / count + eps);
    means[row] = mean;
    scales[row] = scale;
    if (a.span == 1 && a.cycle == 1) {
      if (w && b) {
        WEFT_VECTOR_LOOP
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale * w[i] + b[i];
      } else {
        WEFT_VECTOR_LOOP
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale;
        if (w) {
          WEFT_VECTOR_LOOP
          for (int64_t i = 0; i < n; ++i) y[i] = y[i] * w[i];
        }
        if (b) {
          WEFT_VECTOR_LOOP
          for (int64_t i = 0; i < n; ++i) y[i] = y[i] + b[i];
        }
      }
      return;
    }
    stretches(a, row, [=](int64_t begin, int64_t end, int64_t k) {
      const T wk = w ? w[k] : T(1), bk = b ? b[k] : T(0);
      WEFT_VECTOR_LOOP
      for (int64_t i = begin; i < end; ++i) y[i] = (x[i] - mean) * scale * wk + bk;
    });
  });
}

// The gradients of one row. With h = (x - mean) scale and u = g w:
//   gx = scale (u - mean(u) - h mean(u h)); no mean(u) when not centred.   gw += g h, gb += g.
template <class T>
struct Gradient {
  const NormAttrs& a;
  const T *w, *means, *scales;

  void of_x(const T* gr, const T* xr, T* gx, int64_t row) const {
    const int64_t n = a.n;
    const T mean = means[row], scale = scales[row], count = static_cast<T>(n);
    T* u = scratch<T>(Scratch::staging, 2 * n);
    T* uh = u + n;
    if (!w) {
      WEFT_VECTOR_LOOP
      for (int64_t i = 0; i < n; ++i) u[i] = gr[i];
    } else if (a.span == 1 && a.cycle == 1) {
      WEFT_VECTOR_LOOP
      for (int64_t i = 0; i < n; ++i) u[i] = gr[i] * w[i];
    } else {
      stretches(a, row, [=, this](int64_t begin, int64_t end, int64_t k) {
        const T wk = w[k];
        for (int64_t i = begin; i < end; ++i) u[i] = gr[i] * wk;
      });
    }
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < n; ++i) uh[i] = u[i] * ((xr[i] - mean) * scale);
    prefetch_next_row(gr, n);
    prefetch_next_row(xr, n);
    const T mean_uh = reduce_row<reduction::Sum<T>>(uh, n) / count;
    const T mean_u = a.centred ? reduce_row<reduction::Sum<T>>(u, n) / count : T(0);
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < n; ++i) gx[i] = scale * (u[i] - mean_u - (xr[i] - mean) * scale * mean_uh);
  }

  void of_parameters(const T* gr, const T* xr, T* gw, T* gb, int64_t row) const {
    const T mean = means[row], scale = scales[row];
    if (a.span == 1 && a.cycle == 1) {
      WEFT_VECTOR_LOOP
      for (int64_t i = 0; i < a.n; ++i) {
        gw[i] += gr[i] * ((xr[i] - mean) * scale);
        gb[i] += gr[i];
      }
      return;
    }
    stretches(a, row, [=](int64_t first, int64_t last, int64_t k) {
      gw[k] += reduction::row<reduction::Sum<T>, T>(
          last - first, [=](int64_t i) { return gr[first + i] * ((xr[first + i] - mean) * scale); });
      gb[k] += reduction::row<reduction::Sum<T>, T>(last - first, [=](int64_t i) { return gr[first + i]; });
    });
  }
};

template <class T>
struct Backward {
  const NormAttrs& a;
  const Tensor in[2], nowhere;
  const Parameter<T> weight;
  const Gradient<T> gradient;
  const RowShape shape;

  explicit Backward(const OpCall& c)
      : a(c.as<NormAttrs>()),
        in{dense(c.in[0]), dense(c.in[1])},
        weight(c.in[2]),
        gradient{a, weight.values, static_cast<const T*>(c.in[3].data_ptr()),
                 static_cast<const T*>(c.in[4].data_ptr())},
        shape(a.rows, a.n) {}

  // Adds rows [begin, end) to the sums of weight and bias; their gradients of x go to `gx` where it is defined.
  void sum_rows(int64_t begin, int64_t end, T* sums, const Tensor& gx) const {
    T *gw = sums, *gb = sums + a.per_row() * a.cycle;
    auto one = [&](const T* const* rows, T* g, int64_t, int64_t row) {
      if (gx.defined()) gradient.of_x(rows[0], rows[1], g, row);
      gradient.of_parameters(rows[0], rows[1], gw, gb, row);
    };
    if (a.n > 0) some_rows<T>(shape, in, gx, 1, begin, end, one);
  }
};

// From the sums of the chunks, which change.
template <class T>
void of_parameters(const OpCall& c, T* sums) {
  const auto& a = c.as<NormAttrs>();
  const int64_t values = a.per_row() * a.cycle, chunks = a.chunks();
  for (int64_t q = 1; q < chunks; ++q)
    for (int64_t i = 0; i < 2 * values; ++i) sums[i] += sums[2 * q * values + i];
  for (int k = 0; k < 2; ++k)
    if (const Tensor& out = c.out[1 + k]; out.defined())
      converter(out.dtype(), dtype_of<T>)(out.data_ptr(), 1, sums + k * values, 1, values);
}

// gx, and of the parameters the sums over all rows that use a value. Enough chunks for the threads make gx too, in the
// same pass over memory.
template <class T>
void backward(const OpCall& c) {
  const Backward<T> b(c);
  const auto& a = b.a;
  const bool parameters = c.out[1].defined() || c.out[2].defined();
  const int64_t values = a.per_row() * a.cycle, chunk = a.chunk_rows(), chunks = a.chunks();
  const bool together = parameters && c.out[0].defined() && chunks >= 16;
  if (c.out[0].defined() && !together)
    each_row<T>(b.shape, b.in, c.out[0],
                [&](const T* const* rows, T* gx, int64_t, int64_t row) { b.gradient.of_x(rows[0], rows[1], gx, row); });
  if (!parameters) return;
  T* sums = scratch<T>(Scratch::partial, 2 * chunks * values);
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      T* own = sums + 2 * q * values;
      std::fill_n(own, 2 * values, T(0));
      b.sum_rows(q * chunk, std::min(a.rows, (q + 1) * chunk), own, together ? c.out[0] : b.nowhere);
    }
  });
  of_parameters(c, sums);
}

// A block lies in one chunk.
template <class T>
void backward_block(const OpCall& c, const RowBlock& block) {
  const Backward<T> b(c);
  NormAttrs all = b.a;
  all.rows = block.all;
  const int64_t values = all.per_row() * all.cycle, chunk = all.chunk_rows();
  T* sums = static_cast<T*>(block.partial) + 2 * (block.first / chunk) * values;
  if (block.first % chunk == 0) std::fill_n(sums, 2 * values, T(0));
  b.sum_rows(0, b.a.rows, sums, c.out[0]);
}

}  // namespace

void normalize_rows(const OpCall& c) { c.in[0].dtype() == DType::f64 ? forward<double>(c) : forward<float>(c); }
void normalize_rows_backward(const OpCall& c) {
  c.in[1].dtype() == DType::f64 ? backward<double>(c) : backward<float>(c);
}
void normalize_rows_backward_block(const OpCall& c, const RowBlock& b) {
  c.in[1].dtype() == DType::f64 ? backward_block<double>(c, b) : backward_block<float>(c, b);
}
void normalize_rows_backward_finish(const OpCall& c, void* partial) {
  c.in[1].dtype() == DType::f64 ? of_parameters(c, static_cast<double*>(partial))
                                : of_parameters(c, static_cast<float*>(partial));
}

}  // namespace weft::cpu
